import json

import diffusers
import pytest
import torch

from minisd.checkpoints import load_components, saving
from tests.tiny_diffusion import save_tiny

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return load_components(save_tiny(tmp_path_factory.mktemp("tiny") / "folder", in_channels=9))


def test_diffusers_and_minisd_read_what_was_written(parts, tmp_path):
    folder = saving.save_folder(parts, tmp_path / "new" / "folder")
    again = load_components(folder)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    diffusers.StableDiffusionInpaintPipeline.from_pretrained(folder)
    assert isinstance(pipe.scheduler, diffusers.PNDMScheduler)
    assert not pipe.scheduler.config.set_alpha_to_one
    for part in PARTS:
        state = getattr(parts, part).state_dict()
        theirs = {
            key
            if part != "text_encoder"
            else f"text_model.{key.removeprefix('text_model.')}": value
            for key, value in getattr(pipe, part).state_dict().items()
        }
        assert getattr(again, part).config == getattr(parts, part).config
        for other in (getattr(again, part).state_dict(), theirs):
            assert {k: v.shape for k, v in other.items()} == {k: v.shape for k, v in state.items()}
            assert all(torch.equal(other[key], value) for key, value in state.items())
    assert again.scheduler == parts.scheduler
    text = ["a cat in the dog", "x"]
    assert torch.equal(again.tokenizer(text), parts.tokenizer(text))
    theirs = pipe.tokenizer(
        text, padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    assert torch.equal(theirs, parts.tokenizer(text))
    with torch.no_grad():
        ours = parts.text_encoder(theirs).last_hidden_state
        assert torch.allclose(pipe.text_encoder(theirs).last_hidden_state, ours, atol=1e-5)


def test_refuses_a_folder_with_something_in_it(parts, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ValueError, match="not empty"):
            saving.save_folder(parts, place)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_leaves_nothing_when_it_fails(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(parts.tokenizer, "save", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saving.save_folder(parts, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_single_file_is_replaced_whole_while_it_is_in_use(parts, tmp_path):
    path = saving.save_file(parts, tmp_path / "one.safetensors")
    folder = saving.save_folder(parts, tmp_path / "folder")
    mapped, changed = (load_components(path, config=folder) for _ in range(2))
    expected = parts.unet.state_dict()
    with torch.no_grad():
        for p in changed.unet.parameters():
            p.add_(1)
    saving.save_file(changed, path)
    again = load_components(path, config=folder).unet.state_dict()
    for key, value in expected.items():
        assert torch.equal(mapped.unet.state_dict()[key], value)
        assert torch.equal(again[key], value + 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "one.safetensors"]
    with pytest.raises(ValueError, match=r"must end with \.safetensors"):
        saving.save_file(parts, tmp_path / "one.ckpt")


def test_the_index_names_every_part(parts, tmp_path):
    folder = saving.save_folder(parts, tmp_path / "folder")
    index = json.loads((folder / "model_index.json").read_text())
    assert all((folder / part).is_dir() for part in (*PARTS, "tokenizer", "scheduler"))
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["safety_checker"] == [None, None]


def test_what_the_disk_refuses_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match=r"one\.safetensors cannot be written"):
        saving.write_weights({"w": torch.ones(1)}, tmp_path / "absent" / "one.safetensors")
