"""A Sphinx extension: the types in our docstrings are prose, and prose is no name to look up.

"Tensor, shape [T], float64" says more than a class name, but Sphinx would look each word of it up
and report what it does not find. References that a page makes on purpose are still checked.
"""

import re

from sphinx.application import Sphinx


def keep_colon(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading "Width: in inches" below a constant as a type and its text."""
    if what in ("attribute", "data"):
        lines[:0] = ["..", ""]  # an empty comment: napoleon looks at the first line only


def type_as_text(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the type that napoleon gives an attribute into words below its text."""
    lines[:] = [re.sub(r"^(\s+):type: (.+)$", r"\1*Type:* \2", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Stand on both sides of napoleon, which listens at priority 500."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", keep_colon, priority=400)
    app.connect("autodoc-process-docstring", type_as_text, priority=600)
    return {"parallel_read_safe": True}
