"""Something to look through: pictures by method, scale and seed, with and without a kernel.

All pictures are in one sheet, a row for each (method, scale, seed) and a column for each thing that was asked for. The
page holds the sheet once and moves it behind a window, by handlers of a few lines; in Jupyter widgets cut the row out.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from minisd.extras import require

# The handlers reach everything from the element that they sit on, as those of `minisd.widgets` do.
_MOVE = (
    "const f=this.closest('figure'),d=JSON.parse(f.dataset.rows),"
    "[m,s,k]=f.querySelectorAll('select,input'),"
    "c=d.scales[+m.value];"
    "s.max=c.length-1;s.disabled=c.length<2;if(+s.value>=c.length)s.value=c.length-1;"
    "const r=d.first[+m.value]+(+s.value)*d.seeds.length+(+k.value),"
    "w=f.querySelector('[role=img]'),o=f.querySelectorAll('output');"
    "w.style.backgroundPositionY=100*r/(d.count-1)+'%';"
    "o[0].textContent=c[+s.value];o[1].textContent=d.seeds[+k.value];"
    "s.setAttribute('aria-valuetext',o[0].textContent);"
    "k.setAttribute('aria-valuetext',o[1].textContent);"
    "w.setAttribute('aria-label',d.titles[+m.value]+', scale '+o[0].textContent"
    "+', seed '+o[1].textContent+': '+d.asked)"
)
_LABEL = "display:flex;flex:1 1 14em;gap:.75em;align-items:center"


@dataclass(frozen=True)
class Explorer:
    """What `explorer` returns: shown in a notebook it is a live widget, elsewhere the HTML.

    Attributes
    ----------
    sheet : bytes
        A picture file.
    titles : tuple of str
        Of the methods.
    scales : tuple of tuple of float
        Of each method.
    seeds : tuple of int
    html : str
        The kernel-free figure.
    """

    sheet: bytes
    titles: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    seeds: tuple[int, ...]
    html: str

    def __repr__(self) -> str:
        """Name the choices, which strict notebook checks then compare."""
        told = (
            f"{title} ({', '.join(f'{s:g}' for s in scales)})"
            for title, scales in zip(self.titles, self.scales, strict=True)
        )
        return f"explorer over {'; '.join(told)}; seeds {', '.join(map(str, self.seeds))}"

    def row(self, method: int, scale: int, seed: int) -> Image.Image:
        """Cut out the pictures of a choice, by its indices."""
        before = sum(len(scales) for scales in self.scales[:method])
        index = (before + scale) * len(self.seeds) + seed
        sheet = Image.open(io.BytesIO(self.sheet))
        height = sheet.height // (sum(map(len, self.scales)) * len(self.seeds))
        return sheet.crop((0, index * height, sheet.width, (index + 1) * height))

    def live(self) -> Any:
        """Build the widgets.

        Returns
        -------
        ipywidgets.VBox
            A choice of the method, one of its scales, and the seed, above the pictures.
        """
        widgets = require("ipywidgets", "book")
        method = widgets.Dropdown(
            options=list(zip(self.titles, range(len(self.titles)), strict=True)),
            description="method",
        )
        scale = widgets.SelectionSlider(options=self._choices(0), description="scale")
        seed = widgets.SelectionSlider(
            options=[(str(seed), k) for k, seed in enumerate(self.seeds)], description="seed"
        )
        picture = widgets.Image(format="png", width=640)

        def show(_: Any = None) -> None:
            row = self.row(method.value, scale.value, seed.value)
            buffer = io.BytesIO()
            row.resize((2 * row.width, 2 * row.height), Image.Resampling.NEAREST).save(
                buffer, "png"
            )
            picture.value = buffer.getvalue()

        def change_method(change: Any) -> None:
            scale.options = self._choices(change.new)
            show()

        method.observe(change_method, names="value")
        scale.observe(show, names="value")
        seed.observe(show, names="value")
        show()
        return widgets.VBox([method, scale, seed, picture])

    def _choices(self, method: int) -> list[tuple[str, int]]:
        return [(f"{scale:g}", i) for i, scale in enumerate(self.scales[method])]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """Offer the live widget and the HTML at once; the page that shows it chooses."""
        bundle = self.live()._repr_mimebundle_()
        view = "application/vnd.jupyter.widget-view+json"
        return {"text/plain": repr(self), "text/html": self.html, view: bundle[view]}, {}


def explorer(
    sheet: str | Path,
    methods: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    asked: Sequence[str],
    caption: str,
) -> Explorer:
    """Make an explorer of a sheet of pictures; as the last line of a cell it is shown.

    Parameters
    ----------
    sheet : path
        A JPEG. Its rows are the methods in their order, in each its scales, in each the seeds; its columns are what was
        asked for. All pictures are of one size.
    methods : mapping of str to sequence of float
        Titles to scales.
    seeds : sequence of int
    asked : sequence of str
        One for each column.
    caption : str
        Below the figure.

    Returns
    -------
    Explorer

    Raises
    ------
    ValueError
        If a choice is empty, there are fewer than two rows, or they and the columns do not divide the sheet.
    ImportError
        If ipywidgets is missing; the message says how to install it.
    """
    require("ipywidgets", "book")
    data = Path(sheet).read_bytes()
    width, height = Image.open(io.BytesIO(data)).size
    counts = [len(scales) for scales in methods.values()]
    for name, given in (
        ("methods", counts),
        ("seeds", seeds),
        ("asked", asked),
        ("caption", caption),
    ):
        if not len(given):
            raise ValueError(f"{name} is empty")
    if 0 in counts:
        raise ValueError(f"methods has no scale for {list(methods)[counts.index(0)]!r}")
    rows = sum(counts) * len(seeds)
    if rows < 2 or height % rows or width % len(asked):
        raise ValueError(
            f"sheet is {width} x {height} pixels; {len(asked)} columns and {rows} rows must divide it, "
            "and be more than one row"
        )
    told = {
        "titles": list(methods),
        "scales": [[f"{scale:g}" for scale in scales] for scales in methods.values()],
        "first": [sum(counts[:i]) * len(seeds) for i in range(len(counts))],
        "seeds": [str(seed) for seed in seeds],
        "count": rows,
        "asked": "; ".join(asked),
    }
    options = "".join(
        f'<option value="{i}">{html.escape(title)}</option>' for i, title in enumerate(methods)
    )
    first = told["scales"][0][0]
    alt = f"{told['titles'][0]}, scale {first}, seed {told['seeds'][0]}: {told['asked']}"
    above = "".join(
        f'<span style="flex:1;text-align:center;font-size:.75em;padding:0 .4em">{html.escape(one)}</span>'
        for one in asked
    )
    page = (
        f'<figure class="minisd-explorer" style="margin:1em 0" data-rows="{html.escape(json.dumps(told))}">\n'
        '<div style="display:flex;flex-wrap:wrap;gap:.75em;margin-bottom:.6em">\n'
        f'<label style="{_LABEL}"><span>method</span>'
        f'<select style="flex:1" autocomplete="off" oninput="{_MOVE}">{options}</select></label>\n'
        + _range("scale", counts[0], first)
        + _range("seed", len(seeds), told["seeds"][0])
        + f'</div>\n<div aria-hidden="true" style="display:flex">{above}</div>\n'
        f'<div role="img" class="dark-light" aria-label="{html.escape(alt)}" style="width:100%;'
        f"aspect-ratio:{width}/{height // rows};image-rendering:pixelated;background-size:100% auto;"
        f"background-position-y:0%;background-image:url(data:image/jpeg;base64,{base64.b64encode(data).decode()})"
        f'"></div>\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>'
    )
    scales = tuple(tuple(scales) for scales in methods.values())
    return Explorer(data, tuple(methods), scales, tuple(seeds), page)


def _range(name: str, count: int, shown: str) -> str:
    """A range input over indices, with what it says beside it."""
    return (
        f'<label style="{_LABEL}"><span>{name}</span><input type="range" min="0" max="{count - 1}" value="0" step="1"'
        f' aria-valuetext="{html.escape(shown)}" autocomplete="off" style="flex:1;min-width:4em"'
        f'{" disabled" if count < 2 else ""} oninput="{_MOVE}">'
        f'<output aria-live="off" style="min-width:3ch;text-align:right">{html.escape(shown)}</output></label>\n'
    )
