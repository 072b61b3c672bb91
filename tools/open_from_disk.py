"""A Sphinx extension: pages that are opened as files, with no server, are as whole as served ones.

The theme asks for its fonts ahead of time in a way that browsers refuse for files. The styles ask
for the same fonts again in a way that works, so the early request is left out.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

EARLY_FONT = re.compile(r'<link rel="preload" as="font"[^>]*>\n?')


def leave_out_early_fonts(app: Sphinx, error: Exception | None) -> None:
    """Take the early requests out of the pages that were written."""
    if error is not None:
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if EARLY_FONT.search(page):
            path.write_text(EARLY_FONT.sub("", page), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Wait for the end of the build: the requests stand in a template that the theme generates."""
    app.connect("build-finished", leave_out_early_fonts)
    return {"parallel_read_safe": True}
