"""Pictures keep their pixels, the road agrees with the table of contents."""

import re

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot

from minisd.plots import COLOURS, DPI, PAGE_WIDTH, ROAD, as_uint8, image_grid, road, use_style
from tools.notebooks import ROOT

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_floats_become_bytes():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 2, 5)
    assert as_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_bytes_stay_as_they_are():
    pictures = noise(2, 4, 5, 3)
    assert as_uint8(pictures) is pictures
    assert (as_uint8(torch.from_numpy(pictures)) == pictures).all()


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), np.zeros((1, 8, 8, 3)), noise(8, 8, 3)],
    ids=["one image", "one channel", "float array", "one array"],
)
def test_no_images_are_refused(images):
    with pytest.raises(ValueError, match="images"):
        image_grid(images)


@pytest.mark.parametrize(("columns", "scale"), [(1, 11), (3, 4), (5, 2)])
def test_every_pixel_is_a_whole_number_of_pixels(columns, scale):
    pictures = noise(5, 64, 64, 3)
    shown = pixels(image_grid(pictures, columns=columns))
    for index in range(5):
        row, column = divmod(index, columns)
        left, top = (6 + (64 * scale + 6) * place for place in (column, row))
        block = shown[top : top + 64 * scale, left : left + 64 * scale]
        expected = pictures[index].repeat(scale, 0).repeat(scale, 1)
        assert (block == expected).all()


def test_large_pictures_are_scaled_down_to_the_page():
    shown = pixels(image_grid(noise(2, 512, 512, 3)))
    assert shown.shape[1] == pytest.approx(PAGE_WIDTH * DPI, abs=2)


def test_titles_stand_above_their_pictures():
    figure = image_grid(noise(3, 8, 8, 3), ["a", "", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "", "c"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"titles": ["a"]}, "titles has 1 entries for 3 images"),
        ({"columns": 0}, "columns is 0"),
        ({"images": noise(0, 8, 8, 3)}, "images is empty"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        image_grid(**{"images": noise(3, 8, 8, 3), **options})


@pytest.mark.parametrize("chapter", [name for part in ROAD.values() for name in part])
def test_road_highlights_one_chapter_of_its_part(chapter):
    titles = next(part for part in ROAD.values() if chapter in part)
    bold = [
        text.get_text().replace("\n", " ")
        for text in road(chapter).axes[0].texts
        if text.get_fontweight() == "bold"
    ]
    assert titles[chapter] in bold
    assert not {title for name, title in titles.items() if name != chapter} & set(bold)


def test_texts_on_the_road_do_not_touch():
    for chapter in ("picture_world", "forward", "samplers"):
        figure = road(chapter)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        page = figure.bbox
        for i, box in enumerate(boxes):
            assert page.x0 <= box.x0
            assert box.x1 <= page.x1
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_unknown_chapter_is_named():
    with pytest.raises(ValueError, match="here is 'nowhere'; the chapters on the road are"):
        road("nowhere")


def test_road_and_table_of_contents_agree():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"file: book/(?!appendix)[\w/]*?(\w+)\s*$", toc, flags=re.M)
    on_the_road = [name for part in ROAD.values() for name in part]
    assert listed == [name for name in on_the_road if name in listed]


def test_style_is_the_books():
    with matplotlib.rc_context():
        use_style()
        colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        assert colours == list(COLOURS.values())
        assert matplotlib.rcParams["figure.facecolor"] == "white"
