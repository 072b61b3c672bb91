import json
import subprocess
import sys

import pytest
import torch
import transformers

from minisd.checkpoints import load_clip, save_clip
from tests.tiny_diffusion import randomise

TEXT = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 9, "bos_token_id": 48, "eos_token_id": 49,
}  # fmt: skip
VISION = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3,
    "image_size": 20, "patch_size": 5,
}  # fmt: skip
CONFIG = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)


def embeddings(model, kind):
    ids = torch.tensor([[48, 3, 4, 49, 49], [48, 7, 49, 49, 49]])
    pixels = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    if kind == "minisd":
        return model.encode_text(ids), model.encode_image(pixels)
    out = model(input_ids=ids, pixel_values=pixels)
    # transformers gives them normalized
    return out.text_embeds, out.image_embeds


@torch.no_grad()
def test_what_transformers_writes_is_read_and_the_other_way_round(tmp_path):
    theirs = randomise(transformers.CLIPModel(CONFIG), 3)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_clip(tmp_path / "theirs")
    save_clip(ours, tmp_path / "ours")
    back = transformers.CLIPModel.from_pretrained(tmp_path / "ours").eval()
    for mine, first, second in zip(
        embeddings(ours, "minisd"), embeddings(theirs, "hf"), embeddings(back, "hf"), strict=True
    ):
        mine = torch.nn.functional.normalize(mine, dim=1)
        torch.testing.assert_close(mine, first, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mine, second, rtol=1e-5, atol=1e-6)


def test_half_precision_halves_the_file(tmp_path):
    theirs = randomise(transformers.CLIPModel(CONFIG), 3)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_clip(tmp_path / "theirs")
    save_clip(ours, tmp_path / "half", torch.float16)
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in ("theirs", "half")]
    assert sizes[1] < 0.62 * sizes[0]
    assert load_clip(tmp_path / "half").logit_scale.dtype == torch.float32


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        load_clip(tmp_path)
    settings = {"text_config": TEXT, "vision_config": VISION, "projection_dim": 8}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_clip(tmp_path)


def test_loading_does_not_wake_the_compiler(tmp_path):
    save_clip(load_clip(theirs(tmp_path)), tmp_path / "ours")
    code = (
        "import sys; from minisd.checkpoints import load_clip; load_clip(sys.argv[1]); "
        "sys.exit('sympy' in sys.modules)"  # which the compiler brings, in seconds
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "ours")], check=True)


def theirs(folder):
    transformers.CLIPModel(CONFIG).save_pretrained(folder / "theirs")
    return folder / "theirs"
