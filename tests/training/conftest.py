"""A checkpoint of tiny networks, made once for all tests of what stands on it."""

import shutil

import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState

from tests.training.tiny_configs import make


@pytest.fixture(scope="session")
def tiny_miniature(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("miniature"))
    forget()
    return folder


@pytest.fixture(scope="module")
def miniature(tiny_miniature, tmp_path_factory):
    """A copy for the tests of a file to train on."""
    yield shutil.copytree(tiny_miniature, tmp_path_factory.mktemp("copy") / "tiny")
    forget()


def forget():
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
