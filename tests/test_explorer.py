"""The explorer: the right row for each choice, in widgets and in HTML, and what it refuses."""

import json

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from minisd.explorer import explorer

METHODS = {"one": (1.0, 2.5), "two & more": (3.0,)}
SEEDS, ASKED = (7, 8), ("a dog", "a cat", "a boat")
ROWS = 6


@pytest.fixture
def sheet(tmp_path):
    """Rows of 8 pixels, each grey by its index."""
    grey = np.repeat(np.arange(ROWS, dtype=np.uint8) * 40, 8)
    picture = np.tile(grey[:, None, None], (1, 8 * len(ASKED), 3))
    Image.fromarray(picture).save(tmp_path / "sheet.jpg", quality=95)
    return tmp_path / "sheet.jpg"


def made(sheet, **change):
    given = {"methods": METHODS, "seeds": SEEDS, "asked": ASKED, "caption": "Pictures."}
    return explorer(sheet, **given | change)


def test_every_choice_has_its_row(sheet):
    one = made(sheet)
    choices = [
        (m, s, k)
        for m, scales in enumerate(METHODS.values())
        for s in range(len(scales))
        for k in range(2)
    ]
    means = [np.asarray(one.row(*choice)).mean() for choice in choices]
    assert one.row(0, 0, 0).size == (24, 8)
    np.testing.assert_allclose(means, 40 * np.arange(ROWS), atol=3)


def test_the_page_tells_the_same_rows(sheet):
    figure = BeautifulSoup(made(sheet).html, "html.parser").select_one("figure.minisd-explorer")
    told = json.loads(figure["data-rows"])
    assert told["first"] == [0, 4]
    assert told["count"] == ROWS
    assert told["scales"] == [["1", "2.5"], ["3"]]
    assert [option.text for option in figure.select("option")] == list(METHODS)
    window = figure.select_one("[role=img]")
    assert window["aria-label"] == "one, scale 1, seed 7: a dog; a cat; a boat"
    assert all(control.find_parent("label") for control in figure.select("select, input"))
    assert "http" not in figure.decode()


def test_the_widgets_show_what_is_chosen(sheet):
    box = made(sheet).live()
    method, scale, seed, picture = box.children
    before = picture.value
    method.value = 1
    assert [value for _, value in scale.options] == [0]
    assert picture.value != before
    changed = picture.value
    seed.value = 1
    assert picture.value != changed


def test_its_text_names_the_choices(sheet):
    assert repr(made(sheet)) == "explorer over one (1, 2.5); two & more (3); seeds 7, 8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {}}, "methods is empty"),
        ({"methods": {"one": ()}}, "no scale for 'one'"),
        ({"seeds": ()}, "seeds is empty"),
        ({"asked": ()}, "asked is empty"),
        ({"caption": ""}, "caption is empty"),
        ({"seeds": (1, 2, 3, 4, 5)}, "sheet is 24 x 48 pixels; 3 columns and 15 rows"),
        ({"asked": ("a",) * 5}, "5 columns"),
    ],
)
def test_bad_input_is_named(sheet, change, message):
    with pytest.raises(ValueError, match=message):
        made(sheet, **change)
