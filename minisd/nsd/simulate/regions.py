"""Where the regions of the visual cortex are, by the names and numbers that the Natural Scenes Dataset gives them.

A region is an interval of `rho` times one of `psi` (degrees; see `anatomy`), the same in both hemispheres; each
subject's are shifted and stretched a little. Real regions lie in this order about the occipital pole: V1 along the
calcarine sulcus, V2 and V3 above and below it, hV4 and the fusiform and parahippocampal regions below, the lateral
occipital ones outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minisd.nsd.simulate.anatomy import Anatomy

Interval = tuple[float, float]
Place = tuple[Interval, Interval]
"""Intervals of rho and of psi; one of psi goes on from its start counter-clockwise, beyond 180 too."""

EARLY_END = 68.0
"""Where the early regions end, rho in degrees: at the periphery of the visual field."""

_EARLY = {
    "V1v": (-34, 0), "V1d": (0, 34), "V2v": (-57, -34), "V2d": (34, 57), "V3v": (-78, -57), "V3d": (57, 78),
}  # fmt: skip
MID_END = 44.0
"""Where the regions end that have a retinotopy and border on the early ones."""
PRF: dict[str, Place] = {name: ((0, EARLY_END), psi) for name, psi in _EARLY.items()} | {
    "hV4": ((0, MID_END), (-112, -78))
}
"""Those whose retinotopy is drawn: prf-visualrois."""

STREAMS: dict[str, tuple[Place, ...]] = {
    "early": (((0, EARLY_END), (-78, 78)),),
    "midventral": (((0, MID_END), (-122, -78)),),
    "midlateral": (((0, MID_END), (120, 238)),),
    "midparietal": (((0, MID_END), (78, 120)),),
    "ventral": (((MID_END, 110), (-140, -78)), ((EARLY_END, 110), (-78, -40))),
    "lateral": (((MID_END, 100), (125, 220)),),
    "parietal": (((MID_END, 105), (78, 125)), ((EARLY_END, 105), (50, 78))),
}

_KASTNER: dict[str, tuple[Place, ...]] = {
    **{name: (PRF[name],) for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")},
    "VO1": (((MID_END, 56), (-112, -78)),),
    "VO2": (((56, EARLY_END), (-112, -78)),),
    "PHC1": (((EARLY_END, 80), (-100, -62)),),
    "PHC2": (((80, 94), (-100, -62)),),
    "MST": (((64, 76), (165, 190)),),
    "hMT": (((50, 64), (165, 190)),),
    "LO2": (((0, MID_END), (148, 176)),),
    "LO1": (((0, MID_END), (120, 148)),),
    "V3b": (((0, MID_END), (100, 120)),),
    "V3a": (((0, MID_END), (78, 100)),),
    "IPS0": (((MID_END, 54), (82, 120)),),
    "IPS1": (((54, 64), (82, 120)),),
    "IPS2": (((64, 74), (80, 118)),),
    "IPS3": (((74, 84), (80, 116)),),
    "IPS4": (((84, 94), (80, 114)),),
    "IPS5": (((94, 103), (80, 112)),),
    "SPL1": (((80, 96), (55, 78)),),
    "FEF": (),
}
_FACES: dict[str, tuple[Place, ...]] = {
    "OFA": (((30, 46), (196, 222)),),
    "FFA-1": (((56, 72), (-138, -112)),),
    "FFA-2": (((80, 95), (-138, -114)),),
    "mTL-faces": (((100, 109), (-134, -112)),),
    "aTL-faces": (),
}
_BODIES: dict[str, tuple[Place, ...]] = {
    "EBA": (((46, 70), (190, 214)), ((46, 64), (150, 164))),
    "FBA-1": (((62, 78), (-146, -128)),),
    "FBA-2": (((86, 98), (-146, -128)),),
    "mTL-bodies": (),
}
_PLACES: dict[str, tuple[Place, ...]] = {
    "OPA": (((40, 60), (96, 126)),),
    "PPA": (((66, 92), (-98, -58)),),
    "RSC": (((74, 96), (-26, 20)),),
}
_WORDS: dict[str, tuple[Place, ...]] = {
    "OWFA": (((34, 46), (-150, -134)),),
    "VWFA-1": (((50, 66), (-154, -138)),),
    "VWFA-2": (((72, 86), (-154, -138)),),
    "mfs-words": (((70, 82), (-124, -110)),),
    "mTL-words": (),
}

ATLASES: dict[str, dict[str, tuple[Place, ...]]] = {
    "prf-visualrois": {name: (place,) for name, place in PRF.items()},
    "streams": STREAMS,
    "Kastner2015": _KASTNER,
    "floc-faces": _FACES,
    "floc-bodies": _BODIES,
    "floc-places": _PLACES,
    "floc-words": _WORDS,
}
"""Kinds of regions that are intervals; their numbers count from 1. A region without an interval lies outside of the
field of view, or is one that nobody was found to have."""

CATEGORY_KINDS = ("floc-faces", "floc-bodies", "floc-places", "floc-words")

ECCENTRICITIES = {"ecc0pt5": 0.5, "ecc1": 1.0, "ecc2": 2.0, "ecc4": 4.0, "ecc4+": np.inf}
"""prf-eccrois: up to how many degrees from the point of fixation."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Labels of all kinds, and the part of the cortex that tells how strongly a voxel responds.

    Attributes
    ----------
    labels : dict of str to int16 [X, Y, Z]
        By kind, -1 outside of the cortex, 0 in cortex without a label.
    names : dict of str to tuple of str
        By kind; the first name is that of label 1.
    part : array of str [X, Y, Z]
        A key of `settings.LEVELS`, or "" outside of the brain.
    rho, psi : float32 [X, Y, Z]
        As in the anatomy, but in the coordinates in which the intervals are: without what is the subject's own.
    """

    labels: dict[str, NDArray[np.int16]]
    names: dict[str, tuple[str, ...]]
    part: NDArray[np.str_]
    rho: NDArray[np.float32]
    psi: NDArray[np.float32]


def place(anatomy: Anatomy, rng: np.random.Generator) -> Regions:
    """Place the regions on a subject's cortex.

    Parameters
    ----------
    anatomy : Anatomy
    rng : numpy.random.Generator
        Stretches and shifts them: V1's area varies more than threefold between people (Benson et al. 2022).

    Returns
    -------
    Regions
        All but the eccentricities, which follow from the receptive fields.
    """
    rho, psi = _in_common(anatomy, rng)
    cortex = anatomy.cortex
    labels, names = {}, {}
    for kind, atlas in ATLASES.items():
        names[kind] = tuple(atlas)
        label = np.where(cortex, 0, -1).astype(np.int16)
        for number, places in enumerate(atlas.values(), start=1):
            for one in places:
                label[cortex & (label == 0) & _within(rho, psi, one)] = number
        labels[kind] = label
    visual = labels["streams"]
    general = np.where((visual > 0) & (rho < 98), 1, np.minimum(visual, 0))
    labels["nsdgeneral"] = general.astype(np.int16)
    names["nsdgeneral"] = ("nsdgeneral",)
    return Regions(labels, names, _parts(anatomy, labels), rho, psi)


def hemisphere_labels(label: NDArray[np.int16], anatomy: Anatomy, side: int) -> NDArray[np.int16]:
    """The labels of one hemisphere, -1 also in the other's cortex."""
    return np.where(anatomy.hemisphere == side, label, -1).astype(np.int16)


def eccentricity_labels(
    anatomy: Anatomy, eccentricity: NDArray[np.float32]
) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """prf-eccrois: bands of eccentricity, where it is known.

    Parameters
    ----------
    anatomy : Anatomy
    eccentricity : float32 [X, Y, Z]
        Degrees of visual angle; NaN where there is no retinotopy.
    """
    label = np.where(anatomy.cortex, 0, -1).astype(np.int16)
    known = anatomy.cortex & np.isfinite(eccentricity)
    label[known] = 1 + np.searchsorted(list(ECCENTRICITIES.values()), eccentricity[known])
    return label, tuple(ECCENTRICITIES)


def _in_common(
    anatomy: Anatomy, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Undo what is a subject's own: each hemisphere's regions are larger or smaller, shifted, and wavy."""
    rho, psi = anatomy.rho.copy(), anatomy.psi.copy()
    for side in np.unique(anatomy.hemisphere[anatomy.cortex]):
        mine = anatomy.hemisphere == side
        stretch, shift = rng.uniform(0.9, 1.1), rng.uniform(-5, 5)
        first, second, third = rng.uniform(0, 2 * np.pi, 3)
        # of V1 and its neighbours, against the regions on the other side
        width = rng.uniform(-7, 7)
        angle = np.radians(anatomy.psi[mine])
        wave = 2.5 * np.sin(3 * angle + first) + 1.5 * np.sin(5 * angle + second)
        rho[mine] = anatomy.rho[mine] * stretch + wave
        sway = 3 * np.sin(np.radians(anatomy.rho[mine]) * 4 + third)
        psi[mine] = anatomy.psi[mine] + shift + width * np.sin(angle) + sway
    psi = (psi + 180) % 360 - 180
    return np.maximum(rho, 0), psi


def _within(rho: NDArray[np.float32], psi: NDArray[np.float32], one: Place) -> NDArray[np.bool_]:
    (nearest, farthest), (start, end) = one
    return (rho >= nearest) & (rho < farthest) & ((psi - start) % 360 < end - start)


def _parts(anatomy: Anatomy, labels: dict[str, NDArray[np.int16]]) -> NDArray[np.str_]:
    part = np.full(anatomy.tissue.shape, "", "U12")
    part[anatomy.brain] = "white matter"
    part[anatomy.cortex] = "cortex"
    for number, name in enumerate(STREAMS, start=1):
        part[labels["streams"] == number] = name
    for number, name in enumerate(PRF, start=1):
        if name != "hV4":
            part[labels["prf-visualrois"] == number] = name[:2]
    # a region for one kind of things may lie apart from the streams, as RSC does
    for kind in CATEGORY_KINDS:
        part[(labels[kind] > 0) & (part == "cortex")] = "ventral"
    return part
