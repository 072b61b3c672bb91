"""Where regions are, and their numbers."""

import numpy as np
import pytest

from minisd.nsd.simulate.anatomy import LEFT, RIGHT, grow
from minisd.nsd.simulate.regions import eccentricity_labels, hemisphere_labels, place
from minisd.nsd.simulate.settings import LEVELS
from tests.nsd.simulate.tiny import tiny


@pytest.fixture(scope="module")
def placed():
    anatomy = grow((26, 26, 22), tiny().rng("anatomy", 1))
    return anatomy, place(anatomy, tiny().rng("regions", 1))


def test_labels_follow_the_datasets_convention(placed):
    anatomy, regions = placed
    for name, label in regions.labels.items():
        assert np.array_equal(label == -1, ~anatomy.cortex), name
        assert label.max() <= len(regions.names[name])


def test_names_have_the_datasets_numbers(placed):
    names = placed[1].names
    assert names["prf-visualrois"] == ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")
    assert names["streams"].index("ventral") + 1 == 5
    assert names["Kastner2015"].index("V3a") + 1 == 17
    assert names["Kastner2015"].index("FEF") + 1 == 25
    count = {name: len(labels) for name, labels in names.items()}
    assert (count["Kastner2015"], count["streams"], count["floc-places"]) == (25, 7, 3)


def test_both_hemispheres_have_each_visual_region(placed):
    anatomy, regions = placed
    for name in ("prf-visualrois", "streams"):
        for number, region in enumerate(regions.names[name], start=1):
            for side in (LEFT, RIGHT):
                inside = (regions.labels[name] == number) & (anatomy.hemisphere == side)
                assert inside.any(), region


def test_early_regions_lie_at_the_back_and_dorsal_ones_above_ventral_ones(placed):
    anatomy, regions = placed
    _, y, z = np.indices(anatomy.tissue.shape)
    label, names = regions.labels["prf-visualrois"], regions.names["prf-visualrois"]
    height = {name: z[label == i].mean() for i, name in enumerate(names, start=1)}
    for area in ("V1", "V2", "V3"):
        assert height[f"{area}d"] > height[f"{area}v"]
    streams = regions.labels["streams"]
    assert y[streams == 1].mean() < y[streams == 5].mean()


def test_a_hemispheres_file_hides_the_other(placed):
    anatomy, regions = placed
    label = regions.labels["streams"]
    left, right = (hemisphere_labels(label, anatomy, side) for side in (LEFT, RIGHT))
    assert np.all(left[anatomy.hemisphere == RIGHT] == -1)
    assert np.array_equal(np.maximum(left, right), label)


def test_every_voxel_of_the_brain_has_a_level(placed):
    anatomy, regions = placed
    assert set(regions.part[anatomy.brain]) == set(LEVELS)
    assert set(regions.part[~anatomy.brain]) == {""}


def test_bands_of_eccentricity(placed):
    anatomy, _ = placed
    eccentricity = np.full(anatomy.tissue.shape, np.nan, np.float32)
    some = np.argwhere(anatomy.cortex)[:5]
    eccentricity[tuple(some.T)] = [0.2, 0.7, 1.5, 3, 9]
    label, names = eccentricity_labels(anatomy, eccentricity)
    assert label[tuple(some.T)].tolist() == [1, 2, 3, 4, 5]
    assert names[-1] == "ecc4+"
    assert np.count_nonzero(label > 0) == 5
