"""The loss of the prior, against the formula written out."""

import csv

import pytest
import torch

from minisd.checkpoints import load_clip
from minisd.checkpoints.own import load_own
from minisd.diffusion import ImageNoise, NoiseSchedule
from minisd.models.prior import read_text
from minisd.training.data import SceneSettings
from minisd.training.prior import PriorLoss, PriorSettings, PriorTask
from minisd.training.run import train_from_file
from tests.training.tiny_configs import write


def task_of(folder, **loss):
    torch.manual_seed(0)
    return PriorTask(folder, PriorSettings(32, 1), SceneSettings(count=40), PriorLoss(**loss))


def batch_of(task, rows):
    return [torch.stack(part) for part in zip(*(task.data[i] for i in range(rows)), strict=True)]


@torch.no_grad()
def test_it_is_the_error_of_the_clean_embedding(miniature):
    task = task_of(miniature, p_uncond=0.3, things=0.5)
    embeddings, ids, masks = batch_of(task, 24)
    found = task((embeddings, ids, masks), ImageNoise(range(24)))
    noise, clip = ImageNoise(range(24)), load_clip(miniature / "clip")
    draws, eps = noise.uniform((5,)), noise.draw((16,))
    errors, kinds = [], set()
    for i, (when, drop, alone, which, wording) in enumerate(draws.tolist()):
        things = 2 if masks[i, 1].any() else 1
        part = 1 + int(which * things) if alone < 0.5 else 0
        text = task.null[0] if drop < 0.3 else ids[i, part, int(wording * 5)]
        context = task.network.context(*read_text(clip, text[None].int()))
        t = float(int(when * 1000))
        a = NoiseSchedule.cosine().alpha_bar[int(t)].float()
        x_0 = embeddings[i, part].float()
        x_t = a.sqrt() * x_0 + (1 - a).sqrt() * eps[i]
        errors.append(((task.network(x_t[None], torch.tensor(t), context) - x_0) ** 2).mean())
        kinds.add((part, drop < 0.3))
    assert {(0, False), (1, False), (2, False), (0, True), (1, True)} <= kinds
    torch.testing.assert_close(found["loss"], torch.stack(errors).mean())


def test_only_the_prior_learns(miniature):
    task = task_of(miniature)
    task(batch_of(task, 3), ImageNoise(range(3)))["loss"].backward()
    assert all(p.grad is not None for p in task.network.parameters())
    assert all(p.grad is None for p in task.clip.parameters())


def test_the_command_trains_one_that_can_be_loaded(miniature, tmp_path):
    train_from_file("prior", write("prior", tmp_path), miniature)
    prior = load_own(miniature / "prior")
    assert prior.config.num_embeddings == 40
    assert prior.config.projection_dim == 16
    with (miniature / "training" / "prior" / "log.csv").open() as file:
        assert [line["step"] for line in csv.DictReader(file)] == ["1", "2", "3"]


@pytest.mark.parametrize(("name", "value"), [("p_uncond", 1.0), ("things", 1.2)])
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        PriorLoss(**{name: value})


def test_clip_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        train_from_file("prior", write("prior", tmp_path), tmp_path / "out")
