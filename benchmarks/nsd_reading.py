"""Reading NSD's betas at real size beside the plain read and nsd_access: ``python benchmarks/nsd_reading.py FOLDER``.

A session of subject 1's size is made up in the folder (81x104x83 voxels, 750 trials, int16, as HDF5 and as nii.gz) and
kept there for the next time. Each figure is of a fresh process on Linux, its imports done before the clock starts; the
sides take turns, with the files in the system's cache, after a round that does not count, in which all must give the
same numbers. Then 5 to 40 sessions are prepared: hard links to the one file, so that the folder takes 7 GB at most.
nsd_access is left out where it cannot be imported. It takes some 4 minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHAPE, TRIALS, VOXELS, SESSIONS = (81, 104, 83), 750, 15_724, 40
VERSION = "betas_fithrf_GLMdenoise_RR"
BETAS = f"nsddata_betas/ppdata/subj01/func1pt8mm/{VERSION}"
ROUNDS = {"hdf5": 9, "nii.gz": 5}
PREPARED = {"hdf5": (5, 10, 20, 40), "nii.gz": (1, 2, 4)}
LIMIT = {"hdf5": 600, "nii.gz": 1600}
"""MB that our process may take."""
PEER = "pip install --no-deps git+https://github.com/tknapen/nsd_access pycocotools"
"""What else it imports is in minisd's own environment."""


# the made-up data


def write_session(folder: Path) -> None:
    """Write a session in both formats, each in a root of its own with the tables, and links to it."""
    from minisd.nsd.layout import Root
    from minisd.nsd.simulate import SimulationSettings, SubjectSettings, design, write

    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((place**2).sum(axis=0))
    # a third of the volume is brain, and elsewhere is 0; the region lies at its back
    brain, shell = radius < 0.86, np.flatnonzero((radius > 0.7) & (radius < 0.86))
    mask = np.zeros(SHAPE, bool)
    mask.flat[shell[np.argsort(place[1].flat[shell], kind="stable")[:VOXELS]]] = True

    rng = np.random.default_rng(0)
    betas = np.zeros((TRIALS, mask.size), np.int16)
    for trial in betas:  # mean and standard deviation of V1 in NSD, in percent
        noise = rng.standard_normal(np.count_nonzero(brain), np.float32)
        trial[brain.ravel()] = write.to_int16(2.2 + 3.3 * noise)

    subject = SubjectSettings(1, SHAPE, SESSIONS)
    settings = SimulationSettings(0, (subject,), 9000, 1000, sessions=SESSIONS)
    plan, everywhere, affine = design.plan(settings), np.ones(SHAPE, bool), np.diag([1.8] * 3 + [1])
    for kind in ROUNDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        root = Root(folder / kind)
        write.write_mat(root.design, design.expdesign(plan, settings))
        write.write_table(root.stimulus_info, design.stimulus_info(plan, settings))
        write.write_table(root.responses(1), design.responses(plan, settings, subject), "\t")
        write.write_map(root.roi(1, "nsdgeneral"), mask.astype(np.int16), affine)
        first = root.betas(1, 1, VERSION, kind=kind)
        write.write_series(first, betas, everywhere, affine)
        for session in range(2, SESSIONS + 1):
            link = root.betas(1, session, VERSION, kind=kind)
            link.unlink(missing_ok=True)
            os.link(first, link)
    # last: when it is there, all is
    np.save(folder / "mask.npy", mask)


# the sides: what a fresh process does, in order of what it needs imported


def by_h5py(root: Path, mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Read the chunks of the mask's voxels, in the order in which they lie; int16 [V, N] in that order."""
    import h5py

    with h5py.File(root / BETAS / "betas_session01.hdf5", "r") as file:
        found = file["betas"]
        stored = np.empty((np.count_nonzero(mask), TRIALS), np.int16)
        for row, (z, y, x) in zip(stored, np.argwhere(mask.T).tolist(), strict=True):
            row[:] = found[:, z, y, x]
    return stored


def by_minisd(root: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Read percentages [N, V]."""
    from minisd.nsd.betas import read_betas
    from minisd.nsd.layout import Root

    return read_betas(Root(root), 1, 1, mask, VERSION)


def by_nsd_access(root: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Read percentages [N, V]: nsd_access gives the whole session, and of HDF5 it reads nothing."""
    import nibabel
    from nsd_access import NSDAccess

    if int(nibabel.__version__.split(".")[0]) >= 5:
        # nsd_access calls what nibabel 5 took away; so it was in nibabel 4
        nibabel.Nifti1Image.get_data = lambda image: np.asanyarray(image.dataobj)
    betas = NSDAccess(str(root)).read_betas("subj01", 1, [], VERSION, "func1pt8mm")
    return betas[mask].T / np.float32(300)


IMPORTS = {
    by_h5py: ("h5py",),
    by_minisd: ("h5py", "nibabel", "minisd.nsd"),
    by_nsd_access: ("nibabel", "nsd_access"),
}
SIDES = {
    "hdf5": {"h5py": by_h5py, "minisd": by_minisd},
    "nii.gz": {"minisd": by_minisd, "nsd_access": by_nsd_access},
}


def read(folder: Path, kind: str, side: str) -> list:
    """Read in this process: seconds, MB at the peak, and a digest of the percentages [N, V]."""
    mask, way = np.load(folder / "mask.npy"), SIDES[kind][side]
    for name in IMPORTS[way]:
        importlib.import_module(name)
    start = time.perf_counter()
    betas = way(folder / kind, mask)
    seconds, peak = time.perf_counter() - start, megabytes("VmHWM")
    if way is by_h5py:
        ordered = np.empty((*SHAPE, TRIALS), np.int16)
        ordered.transpose(2, 1, 0, 3)[mask.T] = betas
        betas = ordered[mask].T / np.float32(300)
    return [seconds, peak, digest(betas)]


def prepare_sessions(folder: Path, kind: str, sessions: str) -> list:
    """Prepare so many sessions in this process: seconds, and MB at the peak."""
    from minisd.nsd import Subject
    from minisd.nsd.prepare import PrepareSettings, prepare

    for name in IMPORTS[by_minisd]:
        importlib.import_module(name)
    settings = PrepareSettings(sessions=int(sessions))
    start = time.perf_counter()
    prepare(Subject(folder / kind, 1), folder / "prepared", settings, progress=False)
    return [time.perf_counter() - start, megabytes("VmHWM")]


def megabytes(name: str) -> float:
    """Memory of this process: ``VmHWM`` is the most it had; `ru_maxrss` may be of the process that began it."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e6


def digest(betas: NDArray[np.float32]) -> str:
    """Tell numbers from others."""
    assert betas.dtype == np.float32
    assert betas.shape == (TRIALS, VOXELS)
    return hashlib.sha256(np.ascontiguousarray(betas)).hexdigest()


# the measurements


def measure(*arguments: str | Path) -> list:
    """What `read` or `prepare_sessions` gives in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def gzip_seconds(path: Path) -> float:
    """Unpack a file to nowhere."""
    start = time.perf_counter()
    subprocess.run(["gzip", "-dc", path], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def gzip_digest(path: Path, mask: NDArray[np.bool_]) -> str:
    """Unpack a file, and tell the percentages from others."""
    unpacked = subprocess.run(["gzip", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    betas = np.frombuffer(unpacked, "<i2", offset=352).reshape(TRIALS, *SHAPE[::-1])
    betas = betas.transpose(0, 3, 2, 1)
    return digest(np.stack([trial[mask] for trial in betas]) / np.float32(300))


def measure_reading(folder: Path, kind: str) -> None:
    """Measure one session, and see that all sides read the same."""
    sides = [name for name in SIDES[kind] if name != "nsd_access" or importlib.util.find_spec(name)]
    digests = {measure(folder, kind, side)[2] for side in sides}
    if kind == "nii.gz":
        path = folder / kind / BETAS / "betas_session01.nii.gz"
        digests.add(gzip_digest(path, np.load(folder / "mask.npy")))
        sides.insert(0, "gzip -dc")
    assert len(digests) == 1, "the sides read different numbers"
    seconds, peaks = ({side: [] for side in sides} for _ in range(2))
    for _ in range(ROUNDS[kind]):
        for side in sides:
            if side == "gzip -dc":
                seconds[side].append(gzip_seconds(path))
                continue
            time_taken, peak, again = measure(folder, kind, side)
            assert again in digests
            seconds[side].append(time_taken)
            peaks[side].append(peak)
    base = statistics.median(seconds[sides[0]])
    for side in sides:
        median = statistics.median(seconds[side])
        memory = f"{spread(peaks[side], '.0f')} MB" if peaks[side] else ""
        print(f"{kind:8}{side:12}{spread(seconds[side], '.2f')} s  {median / base:5.2f}x  {memory}")
    if "nsd_access" not in sides and kind == "nii.gz":
        print(f"nsd_access is not here: {PEER}")
    print(f"{kind:8}limits      1.25x and {LIMIT[kind]} MB", flush=True)


def measure_preparing(folder: Path, kind: str) -> None:
    """Measure how time and memory go with the number of sessions."""
    for sessions in PREPARED[kind]:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        seconds, peak = measure(folder, kind, str(sessions))
        print(f"{kind:8}{sessions:2} sessions prepared: {seconds:6.1f} s, {seconds / sessions:5.2f} s each, "
              f"{peak:4.0f} MB", flush=True)  # fmt: skip
    shutil.rmtree(folder / "prepared", ignore_errors=True)


def spread(values: list[float], form: str) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the made-up session is kept")
    parser.add_argument("probe", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.probe:
        kind, side = asked.probe
        print(
            json.dumps((prepare_sessions if side.isdecimal() else read)(asked.folder, kind, side))
        )
        sys.exit()
    versions = (f"{name} {metadata.version(name)}" for name in ("numpy", "h5py", "nibabel"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {', '.join(versions)}")
    if not (asked.folder / "mask.npy").is_file():
        write_session(asked.folder)
    for kind in ROUNDS:
        measure_reading(asked.folder, kind)
    for kind in ROUNDS:
        measure_preparing(asked.folder, kind)
