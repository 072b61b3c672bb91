"""CLIP's batches and its loss over several processes."""

import math
from dataclasses import fields

import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from minisd.diffusion import ImageNoise
from minisd.models.contrastive import contrastive_loss
from minisd.scenes import Thing, held_out, one_factor_changes
from minisd.training.contrastive import (
    CLIPSettings,
    ContrastiveTask,
    Families,
    FamilySettings,
    of_all_processes,
)
from minisd.training.data import SceneSettings

SMALL = CLIPSettings(
    max_length=40,
    vocab_size=600,
    text_width=32,
    text_layers=1,
    image_width=32,
    image_layers=1,
    projection=8,
)


def test_a_family_differs_in_one_factor_from_its_first_scene():
    families = Families(SceneSettings(count=30), 4)
    for i in range(len(families)):
        first, *others = families[i]
        changes = one_factor_changes(first.factors)
        assert len({o.factors for o in others}) == 3
        assert all(o.factors in changes and not held_out(o.factors) for o in others)
    assert [s.factors for s in families[3]] == [s.factors for s in families[3]]


def test_a_family_changes_every_factor_before_any_a_second_time():
    families = Families(SceneSettings(count=60, two=0.0), 7)
    for i in range(0, len(families), 5):
        first, *others = (member.factors for member in families[i])
        changed = []
        for other in others:
            kinds = [] if other.background == first.background else ["background"]
            kinds += [
                f.name
                for f in fields(Thing)
                if getattr(first.things[0], f.name) != getattr(other.things[0], f.name)
            ]
            changed += kinds
        assert len(changed) == len(others)
        assert {"background", "category", "colour", "size", "place"} <= set(changed)


def test_complete_captions_are_taken_at_their_rate():
    task = ContrastiveTask(None, SMALL, SceneSettings(count=30), FamilySettings(3, complete=1.0))
    batch = task.collate([task.data[i] for i in range(4)])
    images, ids = batch
    assert images.shape == (4, 3, 3, 64, 64)
    assert ids.shape == (4, 3, 5, 40)
    asked = []
    task.network.encode_text = lambda chosen: asked.append(chosen) or torch.ones(12, 8)
    task(batch, ImageNoise(range(4)))
    assert torch.equal(asked[0], ids[:, :, 0].flatten(0, 1).int())
    task.complete = 0.0
    task(batch, ImageNoise(range(4)))
    among = (asked[1].reshape(4, 3, 1, 40) == ids).all(dim=3)
    assert among.any(dim=2).all()
    assert not among[:, :, 0].all()


def test_at_first_it_knows_nothing_and_then_it_learns():
    torch.manual_seed(0)
    task = ContrastiveTask(None, SMALL, SceneSettings(count=12), FamilySettings(2, complete=1.0))
    batch = task.collate([task.data[i] for i in range(8)])
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = task(batch, ImageNoise(range(8)))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert abs(losses[0] - math.log(16)) < 1.5
    assert losses[-1] < 0.5 * losses[0]


def test_the_scale_stays_below_a_hundred():
    task = ContrastiveTask(None, SMALL, SceneSettings(count=8), FamilySettings(2))
    batch = task.collate([task.data[i] for i in range(4)])
    with torch.no_grad():
        task.network.logit_scale.fill_(math.log(100))
        capped = task(batch, ImageNoise(range(4)))["loss"]
        task.network.logit_scale.fill_(10.0)
        torch.testing.assert_close(task(batch, ImageNoise(range(4)))["loss"], capped)


def embed(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(5, 3, bias=False), nn.Parameter(torch.tensor(1.0)), torch.randn(2, 6, 5)


def gradients(linear, scale, rows):
    image, text = (of_all_processes(linear(x)) for x in rows)
    contrastive_loss(image, text, scale).backward()
    return [linear.weight.grad, scale.grad]


def work(rank, path, queue):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=2
    )
    linear, scale, x = embed()
    found = gradients(linear, scale, x[:, 3 * rank : 3 * rank + 3])
    for gradient in found:  # as data-parallel training does
        torch.distributed.all_reduce(gradient)
        gradient /= 2
    if rank == 0:
        queue.put([g.tolist() for g in found])
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    torch.multiprocessing.spawn(work, (str(tmp_path / "meet"), queue), nprocs=2)
    linear, scale, x = embed()
    for found, wanted in zip(queue.get(), gradients(linear, scale, x), strict=True):
        torch.testing.assert_close(torch.tensor(found), wanted)
