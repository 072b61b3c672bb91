"""What a simulation may be made from."""

from dataclasses import replace

import pytest

from minisd.nsd.simulate import (
    LEVELS,
    Level,
    NoiseSettings,
    SimulationSettings,
    SubjectSettings,
)
from tests.nsd.simulate.tiny import SUBJECTS, tiny


def test_by_default_it_is_the_books():
    settings = SimulationSettings()
    assert settings.pictures_each == 2250
    assert settings.pictures == 400 + 4 * 1850
    assert sum(settings.trials) == 750


def test_a_subject_as_large_as_a_real_one_differs_in_numbers_alone():
    real = SubjectSettings(1, (81, 104, 83), 40)
    settings = SimulationSettings(subjects=(real,), own=9000, shared=1000, sessions=40)
    assert settings.pictures_each == 10_000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"own": 0}, "own is 0"),
        ({"shared": True}, "shared is True"),
        ({"repeats": 0}, "repeats is 0"),
        ({"sessions": 100}, "sessions is 100"),
        ({"trials": ()}, r"trials is \(\)"),
        ({"trials": (45, 0)}, r"trials is \(45, 0\)"),
        ({"own": 21}, r"own \+ shared is 31.* 93 trials.* have 90"),
        ({"subjects": ()}, r"subjects is \[\]"),
        ({"subjects": SUBJECTS[::-1]}, r"subjects is \[2, 1\]"),
        ({"subjects": SUBJECTS[:1] * 2}, r"subjects is \[1, 1\]"),
        ({"subjects": [replace(SUBJECTS[0], sessions=3)]}, "sessions of subject 1 is 3"),
        ({"subjects": [replace(SUBJECTS[0], sessions=0)]}, "sessions of subject 1 is 0"),
        ({"levels": {"V1": LEVELS["V1"]}}, r"levels is \['V1'\]"),
    ],
)
def test_a_bad_simulation_is_refused_by_name(changes, told):
    with pytest.raises(ValueError, match=told):
        tiny(**changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"number": 0}, "number is 0"),
        ({"number": 1.5}, "number is 1.5"),
        ({"shape": (20, 20)}, r"shape is \(20, 20\)"),
        ({"shape": (20, 19, 20)}, r"shape is \(20, 19, 20\).*\(18, 20, 16\)"),
        ({"kind": "mgh"}, "kind is 'mgh'.*'hdf5' or 'nii.gz'"),
        ({"quality": 0}, "quality is 0"),
    ],
)
def test_a_bad_subject_is_refused_by_name(changes, told):
    with pytest.raises(ValueError, match=told):
        replace(SUBJECTS[0], **changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("along", -0.1), ("regional", -1), ("drift", -1), ("session_gain", -1), ("tails", 4)],
)
def test_bad_noise_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        NoiseSettings(**{name: value})


def test_noise_is_shared_out_once():
    with pytest.raises(ValueError, match=r"regional \+ drift is 1\.1"):
        NoiseSettings(regional=0.6, drift=0.5)


@pytest.mark.parametrize(("name", "value"), [("ncsnr", -1), ("deviation", 0), ("early", 1.1)])
def test_a_bad_level_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        replace(Level(0.5, 1, 2, 0.5), **{name: value})


def test_each_purpose_has_its_own_stream_of_chance():
    def first(seed, *names):
        return tiny(seed=seed).rng(*names).random()

    assert first(0, "session", 1, 2) == first(0, "session", 1, 2)
    others = [(1, "session", 1, 2), (0, "session", 1, 1), (0, "session", 2, 2), (0, "fields", 1, 2)]
    assert len({first(*one) for one in [(0, "session", 1, 2), *others]}) == 5
