"""A tiny simulation for several tests, written once. No test may change it."""

import pytest

from minisd.nsd.simulate import simulate
from tests.nsd.simulate.tiny import tiny


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated") / "root", tiny(), progress=False)
