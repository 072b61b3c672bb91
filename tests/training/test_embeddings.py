"""Embeddings of scenes and of their things, against CLIP run on each."""

import numpy as np
import pytest
import torch

from minisd.checkpoints import load_clip
from minisd.checkpoints.loading import read_tokenizer
from minisd.models.contrastive import MEAN, preprocess
from minisd.models.prior import to_unit_variance
from minisd.scenes import thing_captions
from minisd.training.data import Scenes, SceneSettings, as_input
from minisd.training.embeddings import cut_out, embed


def test_a_thing_is_moved_to_the_middle_and_stands_on_the_mean_colour():
    picture = torch.arange(3 * 8 * 10).reshape(3, 8, 10).to(torch.uint8)
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[5:8, 0:2] = True
    mask[6, 1] = False
    cut = cut_out(picture, mask)
    ground = torch.tensor([round(255 * value) for value in MEAN], dtype=torch.uint8)
    assert torch.equal(cut[:, 2, 4:6], picture[:, 5, 0:2])
    assert torch.equal(cut[:, 4, 4:6], picture[:, 7, 0:2])
    assert torch.equal(cut[:, 3, 5], ground)
    assert (cut == ground[:, None, None]).all(0).sum() == 80 - 5


def test_the_ground_is_what_clip_takes_for_nothing():
    ground = cut_out(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.eye(8, dtype=torch.bool))
    assert preprocess(as_input(ground[None]), 8)[0, :, 0, 7].abs().max() < 0.01


def test_a_mask_that_shows_nothing_is_refused():
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="with 0 pixels; it must be bool"):
        cut_out(picture, torch.zeros(8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        cut_out(picture, torch.ones(4, 4, dtype=torch.bool))


@pytest.fixture(scope="module")
def parts(tiny_miniature):
    return load_clip(tiny_miniature / "clip"), read_tokenizer(tiny_miniature / "tokenizer")


@torch.no_grad()
def test_what_is_cached_is_what_clip_says(parts, tmp_path):
    clip, tokenizer = parts
    scenes = Scenes(SceneSettings(count=90, two=0.5))
    data = embed(scenes, clip, tokenizer, tmp_path, {"data": 1})
    assert len(data) == len(scenes) > 64  # more than one batch
    numbers = {len(scenes[i].factors.things) for i in range(66, 76)}
    assert numbers == {1, 2}
    for i in range(66, 76):
        scene, (embeddings, ids, masks) = scenes[i], data[i]
        whole = torch.from_numpy(scene.image).permute(2, 0, 1)
        views = [whole, *(cut_out(whole, mask) for mask in torch.from_numpy(scene.masks))]
        wanted = to_unit_variance(clip.encode_image(preprocess(as_input(torch.stack(views)), 64)))
        n = len(views)
        torch.testing.assert_close(embeddings[:n].float(), wanted, rtol=2e-3, atol=2e-3)
        assert np.array_equal(masks[: n - 1], scene.masks)
        texts = [scene.captions, *map(thing_captions, scene.factors.things)]
        for told, of_one in zip(ids, texts, strict=False):
            assert torch.equal(told.int(), tokenizer(of_one).int())
        assert not embeddings[n:].any()
        assert not masks[n - 1 :].any()


def test_embeddings_are_made_anew_for_another_clip(parts, tmp_path):
    clip, tokenizer = parts
    scenes = Scenes(SceneSettings(count=6))
    first = embed(scenes, clip, tokenizer, tmp_path, {"data": 1})[0][0]
    written = (tmp_path / "embeddings.npy").stat().st_mtime_ns
    embed(scenes, clip, tokenizer, tmp_path, {"data": 1})
    assert (tmp_path / "embeddings.npy").stat().st_mtime_ns == written
    weight = clip.visual_projection.weight
    with torch.no_grad():
        weight += 1
        second = embed(scenes, clip, tokenizer, tmp_path, {"data": 1})[0][0]
        weight -= 1
    assert not torch.equal(first, second)
