"""The gate: what a chapter lacks, in words. Strict nbval compares outputs; this sees the rest.

A notebook that was never run passes nbval, as does one whose picture nobody can read aloud. Here
each chapter must agree with its text, have run from its first cell to its last, describe every
picture, and have the parts that a reader counts on.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.notebooks import (
    LIMIT_SECONDS,
    ROOT,
    chapters,
    code_cells,
    name_of,
    read_run_times,
    read_source,
)

LIMIT_BYTES = 600_000
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
WIDGET = "application/vnd.jupyter.widget-view+json"
FORBIDDEN = re.compile(r"nbval[-_](skip|ignore[-_]output)|raises[-_]exception", re.IGNORECASE)
UNSTABLE = {
    "an address": re.compile(r"\b0x[0-9a-f]{6,}"),
    "a timing": re.compile(r"it/s\b|Wall time|\d\s*(ms|sec|seconds)\b"),
    "more digits than stay the same": re.compile(r"\d\.\d{6,}"),
}


def sync_faults(book: NotebookNode, source: NotebookNode) -> list[str]:
    """Where the notebook and its text differ."""
    if len(book.cells) != len(source.cells):
        return [f"has {len(book.cells)} cells, its .py has {len(source.cells)}: run it again"]
    return [
        f"cell {i} differs from the .py in its {key}: run it again"
        for i, (cell, text) in enumerate(zip(book.cells, source.cells, strict=True))
        for key in ("cell_type", "source", "metadata")
        if cell[key] != text[key]
    ]


def run_faults(book: NotebookNode) -> list[str]:
    """What shows that a notebook was not run as a whole, or not run cleanly."""
    faults = []
    counts = [cell.execution_count for cell in code_cells(book)]
    if counts != list(range(1, len(counts) + 1)):
        faults.append(f"its cells were not run in order from a fresh start: {counts}")
    if "widgets" in book.metadata:
        faults.append("holds widget state")
    for i, cell in enumerate(book.cells):
        if cell.cell_type != "code":
            continue
        if "execution" in cell.metadata:
            faults.append(f"cell {i} holds timings")
        if FORBIDDEN.search(cell.source) or FORBIDDEN.search(str(cell.metadata.get("tags"))):
            faults.append(f"cell {i} asks nbval not to look")
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"cell {i} ends in an error: {output.ename}")
            if output.get("name") == "stderr":
                faults.append(f"cell {i} writes to stderr: {output.text[:60]!r}")
            data = output.get("data", {})
            if WIDGET in data:
                faults.append(f"cell {i} holds the view of a widget")
            text = output.get("text", "") + data.get("text/plain", "")
            faults += [
                f"cell {i} prints {what}: {found.group()!r}"
                for what, pattern in UNSTABLE.items()
                if (found := pattern.search(text))
            ]
    return faults


def picture_faults(book: NotebookNode) -> list[str]:
    """Pictures without a caption, a name or words for those who do not see them."""
    faults = []
    for i, cell in enumerate(book.cells):
        if cell.cell_type != "code":
            continue
        data = [output.get("data", {}) for output in cell.outputs]
        pictures = sum(kind in mimes for mimes in data for kind in PICTURES)
        pages = [BeautifulSoup(mimes.get("text/html", ""), "html.parser") for mimes in data]
        sliders = [page for page in pages if page.select_one("figure.minisd-slider")]
        described = cell.metadata.get("mystnb", {})
        image, figure = described.get("image", {}), described.get("figure", {})
        if pictures > 1:
            faults.append(f"cell {i} shows {pictures} pictures under one caption; one a cell")
        if pictures:
            for key, value in [
                ("image.alt", image.get("alt")),
                ("figure.caption", figure.get("caption")),
                ("figure.name", figure.get("name")),
            ]:
                if not str(value or "").strip():
                    faults.append(f"cell {i} shows a picture without {key}")
        elif described:
            faults.append(f"cell {i} describes a picture and shows none")
        for page in pages:
            if page.find("img") and page not in sliders:
                faults.append(f"cell {i} shows HTML with a picture; only sliders may")
        for page in sliders:
            if not all(img.get("alt", "").strip() for img in page.find_all("img")):
                faults.append(f"cell {i}: a frame of the slider has no alt text")
            if not page.figcaption or not page.figcaption.get_text().strip():
                faults.append(f"cell {i}: the slider has no caption")
    return faults


def part_faults(book: NotebookNode, name: str) -> list[str]:
    """The parts of a chapter that are not there.

    Parameters
    ----------
    book : NotebookNode
    name : str
        The chapter's path in the book; its last part stands on the road.
    """
    faults = []
    first = book.cells[0].source if book.cells else ""
    if not first.startswith("# "):
        faults.append("does not begin with a title")
    for words in ("**You will be able to**", "**Time**"):
        if words not in first:
            faults.append(f"its first cell lacks {words}")

    chapter = name.rsplit("/", 1)[-1]
    roads = [cell for cell in code_cells(book) if f'road("{chapter}")' in cell.source]
    if not roads:
        faults.append(f'no cell draws road("{chapter}")')
    elif "remove-input" not in roads[0].metadata.get("tags", []):
        faults.append("the cell with the road lacks the tag remove-input")
    shown = [str(output.get("data", {}).get("text/html", "")) for output in outputs(book)]
    if not any("minisd-slider" in page for page in shown):
        faults.append("has nothing to play with: no slider")

    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text + "\n", flags=re.M | re.S))
    for heading, wanted, what in [
        ("Exercises", r"\{exercise\}", "exercises"),
        ("What the literature says", r"\{cite", "citation"),
        ("The way on", r"\{doc\}|\]\(", "link"),
    ]:
        if heading not in sections:
            faults.append(f"has no section '## {heading}'")
        elif not re.search(wanted, sections[heading]):
            faults.append(f"'## {heading}' has no {what}")
    return faults + exercise_faults(book, chapter) + formula_faults(book)


def outputs(book: NotebookNode) -> list[NotebookNode]:
    """All outputs of a notebook, in order."""
    return [output for cell in code_cells(book) for output in cell.outputs]


def exercise_faults(book: NotebookNode, chapter: str) -> list[str]:
    """Exercises without a folded solution that runs."""
    text = "\n".join(
        cell.source if cell.cell_type == "markdown" else "<<code>>" for cell in book.cells
    )
    labels = re.findall(r"```\{exercise\}[^\n]*\n:label: *(\S+)", text)
    solutions = {
        label: body
        for label, body in re.findall(
            r"```\{solution-start\} *(\S+)\n(.*?)```\{solution-end\}", text, flags=re.S
        )
    }
    faults = []
    if not 2 <= len(labels) <= 4:
        faults.append(f"has {len(labels)} exercises; two to four are wanted")
    for label in labels:
        if not label.startswith(chapter.replace("_", "-") + "-"):
            faults.append(f"exercise {label}: its label does not begin with the chapter's name")
        if label not in solutions:
            faults.append(f"exercise {label} has no solution")
        elif "<<code>>" not in solutions[label]:
            faults.append(f"the solution of {label} runs nothing")
        elif not solutions[label].startswith(":class: dropdown"):
            faults.append(f"the solution of {label} is not folded (:class: dropdown)")
    return faults


def formula_faults(book: NotebookNode) -> list[str]:
    """Displayed formulas with no cell after them, before the next heading, to check them."""
    faults, open_formula = [], ""
    for cell in book.cells:
        if cell.cell_type == "code":
            open_formula = ""
            continue
        for part in re.split(r"(\$\$.*?\$\$|^#+ [^\n]*$)", cell.source, flags=re.S | re.M):
            if part.startswith("$$"):
                open_formula = open_formula or " ".join(part.strip("$").split())
            elif part.startswith("#") and open_formula:
                faults.append(f"no cell checks the formula {open_formula[:60]}")
                open_formula = ""
    if open_formula:
        faults.append(f"no cell checks the formula {open_formula[:60]}")
    return faults


def chapter_faults(source: Path, book: Path) -> list[str]:
    """Everything that is wrong with one chapter in itself.

    Parameters
    ----------
    source : Path
        Its `.py`.
    book : Path
        The folder of the book.

    Returns
    -------
    list of str
        Empty if the chapter is whole.
    """
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return ["was never run: there is no .ipynb beside the .py"]
    notebook = nbformat.read(target, as_version=4)
    faults = sync_faults(notebook, read_source(source))
    faults += run_faults(notebook) + picture_faults(notebook)
    faults += part_faults(notebook, name_of(source, book))
    if target.stat().st_size > LIMIT_BYTES:
        faults.append(f"has {target.stat().st_size} bytes; at most {LIMIT_BYTES}")
    return faults


def book_faults(book: Path, toc: Path) -> list[str]:
    """What is wrong between the chapters, the table of contents and the measured run times."""
    listed = re.findall(r"(?:file|root): *(\S+)", toc.read_text(encoding="utf-8"))
    times = read_run_times(book)
    sources = chapters(book)
    names = [name_of(source, book) for source in sources]
    faults = [
        f"{name} is not in {toc.name}" for name in names if f"{book.name}/{name}" not in listed
    ]
    faults += [f"{name} is not in run_times.csv: run it" for name in names if name not in times]
    faults += [
        f"{name} takes {seconds} s; at most {LIMIT_SECONDS}"
        for name, (seconds, _) in times.items()
        if seconds > LIMIT_SECONDS
    ]
    faults += [
        f"{path.relative_to(book)} has no .py beside it"
        for path in sorted(book.rglob("*.ipynb"))
        if path.with_suffix(".py") not in sources
        and not {"_build", ".ipynb_checkpoints"} & {*path.parts}
    ]
    figures: dict[str, str] = {}
    for source, name in zip(sources, names, strict=True):
        for cell in code_cells(read_source(source)):
            figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "")
            if figure in figures:
                faults.append(f"{name} and {figures[figure]} both name a figure {figure}")
            elif figure:
                figures[figure] = name
    return faults


def main() -> int:
    """Print what is wrong with the given chapters, or with all and the book; 1 if anything is."""
    parser = argparse.ArgumentParser(description="Say what a chapter lacks.")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args()
    book = ROOT / "book"
    found = [] if options.paths else book_faults(book, ROOT / "_toc.yml")
    for source in [path.resolve().with_suffix(".py") for path in options.paths] or chapters(book):
        found += [f"{name_of(source, book)}: {fault}" for fault in chapter_faults(source, book)]
    print("\n".join(found) or "every chapter is whole")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
