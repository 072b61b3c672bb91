"""A simulation that takes a second or two."""

from dataclasses import replace

from minisd.nsd.simulate import SimulationSettings, SubjectSettings

SUBJECTS = (
    SubjectSettings(1, (20, 24, 18), 2, "hdf5"),
    SubjectSettings(2, (21, 22, 18), 1, "nii.gz", 0.8),
)


def tiny(**changes):
    """Two subjects of whom the second did one session, 30 pictures each (10 of them shared)."""
    small = SimulationSettings(
        subjects=SUBJECTS, own=20, shared=10, sessions=2, trials=(12, 11, 11, 11)
    )
    return replace(small, **changes)
