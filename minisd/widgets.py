"""One thing to play with: a slider that computes in Jupyter and works without a kernel on a page.

The kernel-free half is plain HTML: a range input over frames that were drawn beforehand. It asks
for no script, style or font from anywhere, and needs no identifiers, so that any number of sliders
share a page.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from minisd.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BETWEEN = 4
"""Positions that the live slider adds between two neighbouring numbers."""

# The handlers reach everything from the element that they sit on. A page may hold the same slider
# twice, and JupyterLab inserts outputs without running scripts in order: neither matters here.
_MOVE = (
    "const f=this.closest('figure'),i=+this.value;"
    "f.querySelectorAll('img').forEach((m,k)=>{m.style.display=k===i?'block':'none'});"
    "const s=f.querySelectorAll('img')[i].dataset.value;"
    "f.querySelector('output').textContent=s;"
    "this.setAttribute('aria-valuetext',s)"
)
_PLAY = (
    "const b=this,r=b.closest('figure').querySelector('input');"
    "if(b.timer){clearInterval(b.timer);b.timer=0}else{"
    "if(+r.value===+r.max)r.value=-1;"
    "b.timer=setInterval(()=>{r.value=+r.value+1;r.oninput();"
    "if(+r.value===+r.max){clearInterval(b.timer);b.timer=0;b.textContent='Play'}},250)}"
    "b.textContent=b.timer?'Stop':'Play'"
)
_BUTTON = (
    "font:inherit;color:inherit;background:none;border:1px solid currentColor;"
    "border-radius:.25em;padding:.1em .7em;min-width:4em"
)


@dataclass(frozen=True)
class Slider:
    """What `slider` returns: shown in a notebook it is a live widget, elsewhere the HTML.

    Attributes
    ----------
    draw : Callable[[value], Figure]
    values : tuple
        The values with a frame in `html`.
    label : str
    show : Callable[[value], str]
    start : int
        Index of the value shown first.
    html : str
        The kernel-free figure.
    """

    draw: Callable[[Any], Figure]
    values: tuple
    label: str
    show: Callable[[Any], str]
    start: int
    html: str

    def __repr__(self) -> str:
        """Name the values, which strict notebook checks then compare."""
        return f"slider over {self.label}: {', '.join(self.show(value) for value in self.values)}"

    def live(self) -> Any:
        """Build the widget that calls `draw` each time it is moved.

        Returns
        -------
        ipywidgets.VBox
            A selection slider above an image. Between numbers it offers `BETWEEN` more, for which
            there is no frame in the HTML; integers stay integers.
        """
        widgets = require("ipywidgets", "book")
        values = fill_in(self.values)
        control = widgets.SelectionSlider(
            options=[(self.show(value), value) for value in values],
            value=self.values[self.start],
            description=self.label,
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "min(100%, 36rem)"},
        )
        picture = widgets.Image(value=_png(self.draw(control.value)), format="png")
        control.observe(
            lambda change: setattr(picture, "value", _png(self.draw(change.new))), names="value"
        )
        return widgets.VBox([control, picture])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """Offer the live widget and the HTML at once; the page that shows it chooses."""
        bundle = self.live()._repr_mimebundle_()
        view = "application/vnd.jupyter.widget-view+json"
        return {"text/plain": repr(self), "text/html": self.html, view: bundle[view]}, {}


def slider(
    draw: Callable[[Any], Figure],
    values: Sequence,
    *,
    label: str,
    caption: str,
    alt: Callable[[Any], str],
    show: Callable[[Any], str] = lambda value: (
        f"{value:g}" if isinstance(value, Real) else f"{value}"
    ),
    start: int = 0,
) -> Slider:
    """Make a slider over what `draw` draws; as the last line of a cell it is shown.

    Parameters
    ----------
    draw : Callable[[value], matplotlib Figure]
        Called once for each of `values` here, and live in Jupyter for any value between them.
    values : sequence of two or more different numbers, or of anything else
        Numbers go up or down throughout. About 10 to 25 keep the page small.
    label : str
        What is moved, for example ``"step t"``.
    caption : str
        Below the figure; ``$...$`` is mathematics.
    alt : Callable[[value], str]
        What a frame shows, for those who do not see it: ``"The dog at step {}.".format``.
    show : Callable[[value], str]
        How a value is written beside the slider; different values are written differently.
    start : int
        Index in `values` of the frame that is shown first, in [0, len(values)).

    Returns
    -------
    Slider

    Raises
    ------
    ValueError
        If there are fewer than two values, two are written alike, numbers neither rise nor fall,
        `start` is no index of `values`, or `caption`, `label` or an alt text is empty.
    ImportError
        If ipywidgets or matplotlib is missing; the message says how to install it.
    """
    values = tuple(values)
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} entries; a slider needs at least 2")
    if not 0 <= start < len(values):
        raise ValueError(f"start is {start}; allowed are 0 to {len(values) - 1}")
    shown = [show(value) for value in fill_in(values)]
    if len(set(shown)) < len(shown):
        twice = next(text for text in shown if shown.count(text) > 1)
        raise ValueError(f"show writes two values as {twice!r}; each needs a text of its own")
    alts = [alt(value) for value in values]
    for name, text in [("label", label), ("caption", caption), *(("alt", text) for text in alts)]:
        if not text.strip():
            raise ValueError(f"{name} is empty; a reader who cannot see the frames needs it")
    require("ipywidgets", "book")

    shown = [show(value) for value in values]
    frames = [
        _frame(draw(value), text, written, index == start)
        for index, (value, text, written) in enumerate(zip(values, alts, shown, strict=True))
    ]
    page = (
        '<figure class="minisd-slider" style="margin:1em 0">\n'
        + "\n".join(frames)
        + '\n<div style="display:flex;flex-wrap:wrap;gap:.75em;align-items:center;margin-top:.6em">\n'
        f'<button type="button" onclick="{_PLAY}" style="{_BUTTON}">Play</button>\n'
        '<label style="display:flex;flex:1 1 14em;gap:.75em;align-items:center">'
        f"<span>{html.escape(label)}</span>"
        f'<input type="range" min="0" max="{len(values) - 1}" value="{start}" step="1"'
        f' aria-valuetext="{html.escape(shown[start])}" autocomplete="off"'
        f' style="flex:1;min-width:6em" oninput="{_MOVE}"></label>\n'
        f'<output aria-live="off" style="min-width:{max(map(len, shown))}ch;text-align:right">'
        f"{html.escape(shown[start])}</output>\n</div>\n"
        f'<figcaption class="mathjax_process">{_mathematics(html.escape(caption))}</figcaption>\n'
        "</figure>"
    )
    return Slider(draw, values, label, show, start, page)


def fill_in(values: tuple) -> list:
    """Put `BETWEEN` evenly spaced numbers between neighbours; leave other values as they are.

    Parameters
    ----------
    values : tuple
        Integers keep to integers, so fewer fit between close ones.

    Returns
    -------
    list
        The values in their order, with what was put between them.

    Raises
    ------
    ValueError
        If the values are numbers that neither rise nor fall throughout.
    """
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        return list(values)
    steps = np.diff(np.array(values, dtype=float))
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError(f"values is {list(values)}; numbers rise throughout or fall throughout")
    whole = all(isinstance(value, Integral) for value in values)
    filled = [values[0]]
    for left, right in itertools.pairwise(values):
        between = np.linspace(left, right, BETWEEN + 2)[1:-1]
        inner = sorted({round(x) for x in between} - {left, right}, reverse=bool(right < left))
        filled += [*(inner if whole else between.tolist()), right]
    return filled


def _png(figure: Figure) -> bytes:
    """Render a figure and close it, so that the notebook does not show it a second time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    require("matplotlib.pyplot", "book").close(figure)
    return buffer.getvalue()


def _frame(figure: Figure, alt: str, shown: str, visible: bool) -> str:
    """One `<img>`, as WebP: exact where the drawing is flat, at quality 90 where it is not."""
    image = Image.open(io.BytesIO(_png(figure))).convert("RGB")
    exact, close = io.BytesIO(), io.BytesIO()
    image.save(exact, format="webp", lossless=True)
    image.save(close, format="webp", quality=90)
    data = base64.b64encode(min(exact.getvalue(), close.getvalue(), key=len)).decode()
    return (
        f'<img class="dark-light" src="data:image/webp;base64,{data}" alt="{html.escape(alt)}"'
        f' data-value="{html.escape(shown)}" width="{image.width}" height="{image.height}"'
        f' style="display:{"block" if visible else "none"};max-width:100%;height:auto">'
    )


def _mathematics(text: str) -> str:
    r"""Turn ``$...$`` into ``\(...\)``, which MathJax knows in a Sphinx page and in Jupyter."""
    return re.sub(r"\$([^$]+)\$", r"\\(\1\\)", text)
