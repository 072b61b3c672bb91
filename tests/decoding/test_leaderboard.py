"""The leaderboard draws what is missing, keeps it, measures it, and tells it as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from minisd.cli import app
from minisd.decoding import leaderboard as board
from minisd.decoding.report import compare, contact_sheet, summarise, table
from minisd.decoding.systems import SYSTEMS, Models
from minisd.nsd import load_prepared
from tests.decoding.conftest import SAMPLES

NSD, MINIATURE = SAMPLES / "nsd", SAMPLES / "miniature"
SOME = board.LeaderboardSettings(
    (1,), ("mean_picture", "random_picture", "blur"), "miniature", samples=2, pictures=4
)


@pytest.fixture(scope="module")
def models():
    return Models(MINIATURE, MINIATURE / "clip", MINIATURE / "unclip")


@pytest.fixture(scope="module")
def out(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaderboard")
    board.draw_all(NSD, models, SOME, folder, progress=False)
    return folder


def measured(out, settings=SOME):
    judge = board.field_measures(lambda x: x.flatten(1), layers=lambda x: x.flatten(1))
    return board.measure(NSD, out, settings, 64, judge, progress=False)


def test_what_is_there_is_not_drawn_again(out, models, monkeypatch):
    drawn = []
    system = replace(SYSTEMS["random_picture"], draw=lambda task: drawn.append(task.seed))
    monkeypatch.setitem(SYSTEMS, "random_picture", system)
    board.draw_all(NSD, models, SOME, out, progress=False)
    assert drawn == []


def test_a_run_that_was_stopped_goes_on(out, models, monkeypatch):
    kept = {path: path.read_bytes() for path in out.rglob("pictures-*.npz")}
    (lost,) = out.rglob("random_picture/*sample1.npz")
    lost.unlink()

    def stop(task):
        raise KeyboardInterrupt

    whole = SYSTEMS["random_picture"]
    monkeypatch.setitem(SYSTEMS, "random_picture", replace(whole, draw=stop))
    with pytest.raises(KeyboardInterrupt):
        board.draw_all(NSD, models, SOME, out, progress=False)
    monkeypatch.setitem(SYSTEMS, "random_picture", whole)
    board.draw_all(NSD, models, SOME, out, progress=False)
    again = {path: np.load(path)["pictures"] for path in kept}
    for path, old in kept.items():
        assert path.read_bytes() == old or path == lost
    (first,) = out.rglob("random_picture/*sample0.npz")
    assert not np.array_equal(again[lost], again[first])


def test_pictures_are_read_as_they_were_drawn(out):
    truth = board.read_truth(NSD, out, 1, SOME, 64)
    (mean,) = board.read_pictures(out, "mean_picture", 1, SOME)
    assert mean.shape == truth.shape == (4, 3, 64, 64)
    assert torch.equal(mean[0], mean[3])
    assert len(list(board.read_pictures(out, "random_picture", 1, SOME))) == 2
    with pytest.raises(ValueError, match="takagi has not drawn for subject 1"):
        next(board.read_pictures(out, "takagi", 1, SOME))


def test_scores_are_means_over_samples_and_last(out, tmp_path):
    scores = measured(out)
    truth = board.read_truth(NSD, out, 1, SOME, 64)
    from minisd.metrics.reconstruction import pixel_correlation

    samples = [
        pixel_correlation(x, truth) for x in board.read_pictures(out, "random_picture", 1, SOME)
    ]
    np.testing.assert_allclose(scores["random_picture"][1]["PixCorr"], np.mean(samples, axis=0))
    board.save_scores(scores, tmp_path / "scores.npz")
    again = board.load_scores(tmp_path / "scores.npz")
    assert list(again) == list(scores)
    for key, values in scores["blur"][1].items():
        np.testing.assert_allclose(again["blur"][1][key], values, atol=1e-3)


def test_report(out):
    scores = measured(out)
    scores["blurred_truth"] = {1: {k: v + 0.1 for k, v in scores["blur"][1].items()}}
    (found,) = compare(scores, "blurred_truth", "blur", "SSIM")
    assert found.subject == 1
    assert found.difference == pytest.approx(0.1)
    lines = table(scores, ["SSIM"]).splitlines()
    assert len(lines) == 2 + 4
    assert "blurred (oracle)" in lines[-1]
    assert f"{summarise(scores, 'blur', 'SSIM').mean:.2f} [" in lines[-2]
    with pytest.raises(ValueError, match="no 'beauty' among the scores of blur"):
        summarise(scores, "blur", "beauty")


def test_pictures_without_a_number_do_not_count():
    nan = float("nan")
    scores = {
        "blur": {k: {"object": np.array([1.0, nan, 0.0, 1.0])} for k in (1, 2)},
        "stage_1": {1: {"object": np.array([1.0, nan, 1.0, 1.0])}},
    }
    assert summarise(scores, "blur", "object").mean == pytest.approx(2 / 3)
    (found,) = compare(scores, "stage_1", "blur", "object")
    assert found.difference == pytest.approx(1 / 3)


def test_sheet():
    rows = {name: torch.full((3, 3, 8, 8), value) for name, value in (("a", -1.0), ("b", 1.0))}
    sheet = np.asarray(contact_sheet(rows, scale=2))
    assert sheet.shape[1] == 3 * (16 + 2)
    assert (sheet[15, 3] == 0).all()
    with pytest.raises(ValueError, match="must have one"):
        contact_sheet({"a": torch.zeros(1, 3, 8, 8), "b": torch.zeros(2, 3, 8, 8)})


def test_another_recipe_is_refused(out, models):
    with pytest.raises(ValueError, match=r"made with other \['recipe'\]"):
        board.draw_all(NSD, models, replace(SOME, recipe="paper"), out)
    with pytest.raises(ValueError, match="pictures is 400, and there are"):
        board.draw_all(NSD, models, replace(SOME, pictures=400), out)
    with pytest.raises(ValueError, match=r"made with other \['sessions'\]"):
        board.draw_all(NSD, models, replace(SOME, sessions=1), out)


def test_the_first_sessions_alone(tmp_path):
    board.read_truth(NSD, tmp_path, 1, replace(SOME, sessions=1), 64)
    prepared = load_prepared(tmp_path / "subj01" / "prepared")
    assert set(prepared.train.trials.session) == {1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"systems": ("magic",)}, "systems is"),
        ({"subjects": (1, 1)}, "subjects is"),
        ({"recipe": "mine"}, "recipe is 'mine'"),
        ({"samples": 0}, "samples is 0"),
        ({"pictures": 1}, "pictures is 1"),
        ({"sessions": 0}, "sessions is 0"),
    ],
)
def test_bad_settings_are_named(change, told):
    with pytest.raises(ValueError, match=told):
        replace(SOME, **change)


@pytest.mark.parametrize("name", [n for n in SYSTEMS if n not in SOME.systems])
def test_each_system_draws(out, models, name, monkeypatch):
    from minisd.decoding import systems

    recipe = systems.RECIPES["miniature"]
    few = replace(recipe.mind_diffuser, steps=4, inner_steps=4, iterations=1)
    monkeypatch.setitem(
        systems.RECIPES, "miniature", replace(recipe, mind_diffuser=few, inversions=2)
    )
    # what _claim compares is the recipe
    monkeypatch.setattr(board, "_claim", lambda *_: None)
    settings = replace(SOME, systems=(name,), samples=1)
    board.draw_all(NSD, models, settings, out, progress=False)
    (x,) = board.read_pictures(out, name, 1, settings)
    assert x.shape == (4, 3, 64, 64)
    assert x.std() > 0.05


def test_command_line(tmp_path):
    words = (
        f"leaderboard --nsd {NSD} --out {tmp_path / 'out'} --model {MINIATURE} --clip {MINIATURE / 'clip'} "
        f"--judge {MINIATURE / 'scorer'} --recipe miniature --pictures 3 --systems mean_picture,blurred_truth"
    )
    told = CliRunner().invoke(app, words.split())
    assert told.exit_code == 0, told.output
    assert "mean picture" in told.output
    assert {"scores.npz", "scores.md", "sheet.png"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    told = CliRunner().invoke(app, [*words.split()[:-1], "unclip"])
    assert told.exit_code == 2
    assert "needs --unclip" in told.output
