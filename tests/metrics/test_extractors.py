import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from minisd.checkpoints import load_clip
from minisd.metrics import extractors as e
from minisd.models.contrastive import preprocess

CLIP = Path(__file__).resolve().parents[2] / "data_samples" / "miniature" / "clip"


def pictures(n=5, height=40, width=30):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Small(nn.Module):
    """With the names of a ResNet: a body, a pooled layer and a head."""

    def __init__(self, weights=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.avgpool(self.relu(self.conv1(x))).flatten(1))


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision whose ResNet-50 is `Small`."""
    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    models.resnet50 = package.resnet50 = Small
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_a_layer_is_taken_before_the_next_writes_over_it(batch):
    network, x = Small().eval(), pictures()
    found = e.of_layer(network, "conv1", batch=batch)(x)
    with torch.no_grad():
        wanted = network.conv1(x).flatten(1)
    assert (wanted < 0).any()
    torch.testing.assert_close(found, wanted)
    assert not found.requires_grad
    assert not network.conv1._forward_hooks


def test_weights_come_from_the_file(torchvision, tmp_path):
    trained = Small()
    nn.init.normal_(trained.conv1.weight)
    state = {f"module.{k}": v for k, v in trained.state_dict().items() if not k.startswith("fc.")}
    torch.save({**state, "module.prototypes.weight": torch.zeros(2)}, tmp_path / "swav.pth")
    found = e.extractor("SwAV", tmp_path / "swav.pth")(pictures())
    with torch.no_grad():
        wanted = trained.avgpool(trained.conv1(e.normalised(pictures(), 224)).relu()).flatten(1)
    torch.testing.assert_close(found, wanted)


def test_pictures_have_the_size_and_the_scale_of_imagenet():
    x = e.normalised(pictures(2, 40, 30), 15)
    assert x.shape == (2, 3, 20, 15)
    grey = torch.full((1, 3, 8, 8), 2 * 0.485 - 1)
    np.testing.assert_allclose(e.normalised(grey, 8)[0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(e.normalised(grey, 8)[0, 2], (0.485 - 0.406) / 0.225, rtol=1e-5)


def test_clip_is_asked_as_it_asks_to_be():
    clip, x = load_clip(CLIP), pictures(3, 64, 64)
    with torch.no_grad():
        wanted = clip.encode_image(preprocess(x, 64))
    torch.testing.assert_close(e.of_clip(clip, batch=2)(x), wanted, atol=1e-5, rtol=1e-5)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        e.extractor("SwAV", tmp_path / "swav.pth")


@pytest.mark.parametrize(
    ("name", "state", "told"),
    [
        ("VGG", {}, "name is 'VGG'; it must be one of"),
        ("SwAV", None, "is not there"),
        ("SwAV", {"conv1.bias": torch.zeros(4)}, "has no conv1.weight; it is not of resnet50"),
        ("SwAV", {"conv1.weight": torch.zeros(5, 3, 3, 3)}, "does not fit resnet50"),
    ],
)
def test_bad_input_is_named(torchvision, tmp_path, name, state, told):
    if state is not None:
        torch.save(state, tmp_path / "it.pth")
    with pytest.raises(ValueError, match=told):
        e.extractor(name, tmp_path / "it.pth")


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"layer is 'pool'; Small has \('conv1', 'relu'"):
        e.of_layer(Small(), "pool")
