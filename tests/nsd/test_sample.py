"""The simulated subject that ships is small and whole, and its command makes it again."""

import json
from pathlib import Path

import numpy as np
import pytest

from minisd.nsd import Subject
from minisd.nsd.check import check
from minisd.nsd.simulate import SIZES, simulate

SAMPLE = Path(__file__).resolve().parents[2] / "data_samples" / "nsd"


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("sample") / "nsd", SIZES["sample"], progress=False)


def test_it_is_small():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 6e6


def test_nothing_is_missing_or_damaged():
    report = str(check(SAMPLE))
    assert "can be run: trials and repeats, read betas, choose voxels by ncsnr, prepare" in report
    assert not any(fault in report for fault in ("missing", "damaged"))


def test_it_is_made_again_by_its_command(again):
    files = {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file()}
    assert files == {p.relative_to(again.path) for p in again.path.rglob("*") if p.is_file()}
    shipped, made = Subject(SAMPLE, 1), Subject(again, 1)
    assert shipped.sessions == made.sessions == (1, 2)
    mask = shipped.roi("nsdgeneral")
    assert np.array_equal(mask, made.roi("nsdgeneral"))
    assert np.array_equal(shipped.trials.nsd_id, made.trials.nsd_id)
    assert np.array_equal(shipped.pictures[7], made.pictures[7])
    for session in shipped.sessions:  # another processor may round another way
        apart = shipped.betas(session, mask) - made.betas(session, mask)
        assert abs(apart).max() < 1.5 / 300


def test_its_card_says_that_it_is_simulated_and_how_it_was_made():
    card = (SAMPLE / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# A simulated dataset\n")
    assert "No brain was measured" in card
    assert json.loads(card.split("```json")[1].split("```")[0])["own"] == SIZES["sample"].own
