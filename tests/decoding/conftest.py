"""The subject that ships, prepared once, and the miniature."""

from pathlib import Path

import pytest

from minisd.checkpoints import load_clip
from minisd.decoding.responses import read_responses
from minisd.decoding.targets import Seen
from minisd.nsd import Subject
from minisd.nsd.prepare import PrepareSettings, prepare
from minisd.pipeline import StableDiffusion

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="session")
def subject():
    return Subject(SAMPLES / "nsd", 1)


@pytest.fixture(scope="session")
def prepared(subject, tmp_path_factory):
    settings = PrepareSettings(align=10)
    return prepare(
        subject, tmp_path_factory.mktemp("prepared") / "subj01", settings, progress=False
    )


@pytest.fixture(scope="session")
def shown(subject, prepared):
    """Responses and pictures of a part."""

    def part(name, repeats=None):
        ids = getattr(prepared, name).nsd_id
        return read_responses(subject, prepared, name, repeats), Seen(subject.pictures, ids)

    return part


@pytest.fixture(scope="session")
def sd():
    return StableDiffusion.from_pretrained(SAMPLES / "miniature")


@pytest.fixture(scope="session")
def clip():
    return load_clip(SAMPLES / "miniature" / "clip")
