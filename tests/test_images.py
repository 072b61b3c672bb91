"""Pictures of every kind come in right way up and in range; PNGs go out whole, with their settings."""

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from minisd.images import (
    load_image,
    prepare,
    prepare_mask,
    read_settings,
    save_png,
    to_pil,
    to_tensor,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
"""A picture of noise, 56 wide and 40 high."""


def same(image, pixels):
    return np.array_equal(np.array(load_image(image)), pixels)


def test_paths_images_arrays_and_tensors_are_one_picture(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    for source in (PIXELS, image, tmp_path / "a.png", str(tmp_path / "a.png"), to_tensor(image)):
        assert same(source, PIXELS)
        x = to_tensor(source)
        assert x.shape == (1, 3, 40, 56)
        assert x.dtype == torch.float32
        assert to_pil(x)[0].tobytes() == PIXELS.tobytes()
    assert to_tensor(np.full((8, 8, 3), 255, np.uint8)).unique().tolist() == [1]
    assert to_tensor(np.zeros((8, 8, 3), np.uint8)).unique().tolist() == [-1]


def test_every_grey_level_comes_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(np.array(to_pil(to_tensor(levels))[0]), levels)


def test_a_tensor_keeps_its_precision_and_goes_out_cut_to_range():
    x = torch.rand(3, 8, 8) * 2 - 1
    assert torch.equal(to_tensor(x)[0], x)
    beyond = torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert np.array(to_pil(beyond)[0]).tolist() == [[[0] * 3, [255] * 3]]


def test_grey_palette_cmyk_and_one_bit(tmp_path):
    grey = PIXELS[..., 0]
    expected = grey[..., None].repeat(3, 2)
    for source in (grey, grey[..., None], Image.fromarray(grey)):
        assert same(source, expected)
    colours = np.array([[255, 0, 0], [0, 128, 255]], np.uint8)
    palette = Image.fromarray(grey // 128)
    palette = palette.convert("P")
    palette.putpalette(colours.tobytes())
    index = np.array(palette)
    palette.save(tmp_path / "p.png")
    assert same(tmp_path / "p.png", colours[index])
    assert same(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), np.full((8, 8, 3), (255, 0, 0)))
    assert same(Image.new("1", (8, 8), 1), np.full((8, 8, 3), 255))


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    deep = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = np.rint(deep / 65535 * 255).astype(np.uint8)
    assert len(np.unique(expected)) > 60
    assert same(tmp_path / "deep.png", expected[..., None].repeat(3, 2))


def test_what_is_transparent_shows_white(tmp_path):
    rgba = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    rgba[:20, :, 3] = 255
    expected = PIXELS.copy()
    expected[20:] = 255
    assert same(rgba, expected)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert same(tmp_path / "a.png", expected)
    half = np.full((8, 8, 4), (0, 0, 0, 128), np.uint8)
    assert abs(np.array(load_image(half)).astype(int) - 127).max() <= 1
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "p.png", transparency=1)
    assert same(tmp_path / "p.png", np.full((8, 8, 3), 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_the_way_the_camera_meant(tmp_path, orientation):
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # mirrored across the other diagonal
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    assert same(tmp_path / "turned.png", turns[orientation](PIXELS))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (PIXELS.astype(np.float32), "array of float32"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros(8, np.uint8), "it must be uint8"),
        (Image.new("F", (8, 8)), "mode 'F'"),
        (7, "image is a int"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "tensor of torch.uint8"),
        (torch.zeros(2, 3, 8, 8), "shape"),
        (torch.zeros(4, 8, 8), "shape"),
        (torch.full((3, 8, 8), torch.nan), "NaN"),
        (torch.full((3, 8, 8), 200.0), r"\[200, 200\]; it must lie in \[-1, 1\]"),
    ],
)
def test_what_is_no_picture_is_refused(source, words):
    with pytest.raises(ValueError, match=words):
        to_tensor(source)
    with pytest.raises(ValueError, match=words):
        load_image(source)


def test_files_that_are_no_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no picture"):
        load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("words")
    with pytest.raises(ValueError, match="no picture that Pillow can read"):
        load_image(tmp_path / "text.png")
    Image.fromarray(PIXELS).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_image(tmp_path / "cut.png")


# ---- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(None, None), (64, 24), (32, None)])
@pytest.mark.parametrize("shape", [(40, 56), (41, 63)])
def test_sizes_are_those_of_diffusers(shape, height, width):
    pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = VaeImageProcessor().preprocess(Image.fromarray(pixels), height, width)
    x = prepare(pixels, height, width)
    assert x.shape == expected.shape
    assert (x - expected).abs().max() < 1e-6


def test_a_tensor_is_resized_as_the_picture_would_be():
    # without sharp edges: there the picture's own pixels are cut off at black and white on the way
    y, x = np.mgrid[:41, :63]
    pixels = (128 + 100 * np.sin([x / 5, y / 4, (x + y) / 6])).astype(np.uint8).transpose(1, 2, 0)
    of_picture, of_tensor = prepare(pixels), prepare(to_tensor(pixels))
    assert of_tensor.shape == (1, 3, 40, 56)
    assert (of_picture - of_tensor).abs().max() < 1.2 / 127.5  # two roundings
    assert len(of_tensor.unique()) > 256


def test_another_multiple():
    pixels = RNG.integers(0, 256, (41, 63, 3), dtype=np.uint8)
    assert prepare(pixels, multiple=4).shape == (1, 3, 40, 60)
    with pytest.raises(ValueError, match="multiple of 16, such as 32 or 48"):
        prepare(pixels, height=40, multiple=16)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (500, "height is 500; it must be a multiple of 8, such as 496 or 504"),
        (0, "height is 0; it must be a multiple of 8, such as 8 or 16"),
        (-8, "height is -8"),
        (64.0, "height is 64.0; it must be a whole number"),
        (True, "height is True"),
    ],
)
def test_sizes_that_are_refused(size, words):
    with pytest.raises(ValueError, match=words):
        prepare(PIXELS, height=size)


def test_a_picture_that_is_too_small():
    with pytest.raises(ValueError, match="image is 56x7 pixels; it must be 8x8 or more"):
        prepare(PIXELS[:7])


# ---- masks --------------------------------------------------------------------------------------

MASK = np.zeros((40, 56), bool)
MASK[5:21, 9:33] = True


def test_masks_of_every_kind(tmp_path):
    grey = Image.fromarray(MASK.astype(np.uint8) * 255)
    grey.save(tmp_path / "mask.png")
    tensor = torch.from_numpy(MASK)
    kinds = [
        MASK, grey, grey.convert("RGB"), grey.convert("1"), tmp_path / "mask.png", np.array(grey),
        tensor, tensor.float(), tensor[None].float(), tensor[None, None].double(),
    ]  # fmt: skip
    for mask in kinds:
        ones = prepare_mask(mask, PIXELS)
        assert ones.shape == (1, 1, 40, 56)
        assert torch.equal(ones[0, 0], tensor.float())


def test_the_threshold_is_half_of_white():
    mask = np.full((40, 56), 127, np.uint8)
    mask[0, :3] = 128
    assert prepare_mask(mask, PIXELS).sum() == 3
    mask = torch.full((40, 56), 0.49)
    mask[0, :2] = 0.5
    assert prepare_mask(mask, PIXELS).sum() == 2


def test_a_mask_is_resized_with_its_picture():
    pixels = RNG.integers(0, 256, (41, 63, 3), dtype=np.uint8)
    mask = Image.new("L", (63, 41))
    mask.paste(255, (20, 10, 50, 30))
    theirs = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    assert torch.equal(prepare_mask(mask, pixels), theirs.preprocess(mask))
    assert torch.equal(prepare_mask(mask, pixels, 16, 24), theirs.preprocess(mask, 16, 24))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (MASK[1:], "mask is 56x39 pixels; it must be as large as its picture, 56x40"),
        (np.zeros((40, 56), bool), "no white pixel"),
        (MASK.astype(np.uint8), "no white pixel"),  # ones of 255
        (torch.full((40, 56), 2.0), "between 0 and 1"),
        (torch.full((40, 56), torch.nan), "between 0 and 1"),
        (torch.zeros(2, 40, 56), r"shape \(2, 40, 56\)"),
    ],
)
def test_masks_that_are_refused(mask, words):
    with pytest.raises(ValueError, match=words):
        prepare_mask(mask, PIXELS)


# ---- out ----------------------------------------------------------------------------------------

SETTINGS = {"prompt": "ein Hündchen, 犬 \n", "seed": 3, "guidance_scale": 8.0, "steps": None}


def test_a_png_carries_its_settings(tmp_path):
    path = tmp_path / "new" / "a.png"
    save_png(Image.fromarray(PIXELS), path, SETTINGS)
    assert read_settings(path) == SETTINGS
    assert same(path, PIXELS)
    save_png(Image.fromarray(PIXELS), path, {"seed": 4})
    assert read_settings(path) == {"seed": 4}
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_nothing_is_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_png(Image.fromarray(PIXELS), path, {"seed": 1})

    def half(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="no space"):
        save_png(Image.fromarray(PIXELS), path, {"seed": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert read_settings(path) == {"seed": 1}


def test_settings_that_are_not_there(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="carries no settings"):
        read_settings(tmp_path / "plain.png")
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_png(Image.fromarray(PIXELS), tmp_path / "a.jpg", {})
