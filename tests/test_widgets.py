"""The slider's two halves: HTML that asks for nothing, and a widget that computes."""

import re
import sys

import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from minisd.widgets import BETWEEN, fill_in, slider

matplotlib.use("agg")


class Drawing:
    """A `draw` that remembers what it was asked for."""

    def __init__(self):
        self.drawn = []

    def __call__(self, value):
        self.drawn.append(value)
        figure, axes = matplotlib.pyplot.subplots(figsize=(1, 1))
        axes.plot([0, value if isinstance(value, float | int) else len(value)])
        axes.set_ylim(0, 20)
        return figure


def make(draw=None, values=(0, 10, 20), **options):
    described = {"label": "step t", "caption": "It $x_t$ < moves.", "alt": "Step {}.".format}
    return slider(draw or Drawing(), values, **{**described, **options})


def test_page_shows_one_frame_of_each_value():
    page = BeautifulSoup(make(start=1).html, "html.parser").figure
    frames = page.find_all("img")
    assert [frame["alt"] for frame in frames] == ["Step 0.", "Step 10.", "Step 20."]
    assert [frame["data-value"] for frame in frames] == ["0", "10", "20"]
    assert ["display:block" in frame["style"] for frame in frames] == [False, True, False]
    assert len({frame["src"] for frame in frames}) == 3


def test_page_can_be_used_without_eyes_or_mouse():
    page = BeautifulSoup(make(start=1).html, "html.parser").figure
    control = page.find("input", type="range")
    assert (control["min"], control["max"], control["value"]) == ("0", "2", "1")
    assert control["aria-valuetext"] == page.output.text == "10"
    assert control.find_parent("label").get_text() == "step t"
    assert page.button["type"] == "button"
    assert page.button.get_text() == "Play"
    assert page.figcaption.get_text() == r"It \(x_t\) < moves."


def test_page_asks_for_nothing_and_shares_with_others():
    html = make(label="<b>", alt='"{}"'.format).html
    page = BeautifulSoup(html, "html.parser")
    assert not page.find_all(["script", "link", "style", "b"])
    assert not re.search(r"https?:|url\(|@import|\bid=", html)
    assert page.img["alt"] == '"0"'


def test_moving_the_live_widget_draws():
    draw = Drawing()
    live = make(draw).live()
    control, picture = live.children
    before, draw.drawn[:] = bytes(picture.value), []
    control.value = 20
    assert draw.drawn == [20]
    assert bytes(picture.value) != before
    assert bytes(picture.value).startswith(b"\x89PNG")
    between = next(value for _, value in control.options if value not in (0, 10, 20))
    control.value = between
    assert draw.drawn == [20, between]


def test_figures_are_closed():
    make().live()
    assert matplotlib.pyplot.get_fignums() == []


def test_notebook_gets_both_and_chooses():
    bundle, _ = make()._repr_mimebundle_()
    assert set(bundle) == {
        "text/plain",
        "text/html",
        "application/vnd.jupyter.widget-view+json",
    }
    assert bundle["text/plain"] == "slider over step t: 0, 10, 20"


def test_same_values_give_the_same_page():
    assert make().html == make().html


def test_values_may_be_words():
    made = make(values=["one", "three"])
    assert [label for label, _ in made.live().children[0].options] == ["one", "three"]


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=8, unique=True), st.booleans())
def test_filled_integers_stay_integers_in_order(values, falling):
    values = tuple(sorted(values, reverse=falling))
    filled = fill_in(values)
    assert filled == sorted(set(filled), reverse=falling)
    assert set(values) <= set(filled)
    assert all(isinstance(value, int) for value in filled)


@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=8, unique=True))
def test_floats_are_filled_evenly(values):
    values = tuple(sorted(values))
    filled = np.array(fill_in(values))
    assert len(filled) == len(values) + BETWEEN * (len(values) - 1)
    np.testing.assert_allclose(filled[:: BETWEEN + 1], values)
    steps = np.diff(filled).reshape(-1, BETWEEN + 1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(BETWEEN + 1, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"values": [1]}, "values has 1 entries"),
        ({"values": [0, 2, 1]}, "values is [0, 2, 1]; numbers rise"),
        ({"values": [1, 1]}, "numbers rise"),
        ({"start": 3}, "start is 3; allowed are 0 to 2"),
        ({"start": -1}, "start is -1"),
        ({"show": lambda value: "same"}, "show writes two values as 'same'"),
        ({"caption": " "}, "caption is empty"),
        ({"label": ""}, "label is empty"),
        ({"alt": lambda value: ""}, "alt is empty"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make(**options)


def test_missing_ipywidgets_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=re.escape('pip install "minisd[book]"')):
        make()
