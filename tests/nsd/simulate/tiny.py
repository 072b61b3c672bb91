"""A simulation that takes a second or two."""

from dataclasses import replace

from minisd.nsd.simulate import SIZES

SUBJECTS = SIZES["tiny"].subjects


def tiny(**changes):
    """Two subjects of whom the second did one session, 30 pictures each (10 of them shared)."""
    return replace(SIZES["tiny"], **changes)
