"""Keep the chapters' notebooks true to their text: `make notebooks`.

A chapter is written in `book/<part>/<name>.py` (jupytext's py:percent). This makes the notebook
beside it, with outputs: it runs the chapter if its code changed or was never run, and otherwise
updates the text alone. What changes from run to run (timings, widget state, cell numbers drawn at
random) is left out, so an unchanged chapter gives an unchanged file. `book/appendix/run_times.csv`
keeps the seconds and the peak memory of each chapter's last run.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 60
MEASURED = ("torch", "numpy", "matplotlib", "scikit-image", "ipykernel", "jupyter-book")
"""Packages whose versions the page of run times names."""

PEAK = """
import resource as _resource, sys as _sys
print(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss // (1000000 if _sys.platform == "darwin" else 1000))
"""


def chapters(book: Path) -> list[Path]:
    """Every chapter's source below `book`, sorted: the `.py` files with jupytext's header."""
    return [
        path
        for path in sorted(book.rglob("*.py"))
        if "_build" not in path.parts and path.read_text(encoding="utf-8").startswith("# ---\n")
    ]


def read_source(source: Path) -> NotebookNode:
    """Read a chapter as a notebook without outputs, with fixed metadata and lasting cell ids.

    Parameters
    ----------
    source : Path
        The `.py` file.

    Returns
    -------
    NotebookNode
        A cell's id is a hash of its content, so a change to one leaves the others alone.
    """
    book = jupytext.read(source, fmt="py:percent")
    book.metadata = NotebookNode(
        jupytext={"formats": "ipynb,py:percent"},
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    book.nbformat, book.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in book.cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[key] = seen.get(key, 0) + 1
        cell.id = key if seen[key] == 1 else f"{key}-{seen[key]}"
    return book


def code_cells(book: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def reuse_outputs(book: NotebookNode, old: NotebookNode) -> bool:
    """Copy the outputs of an earlier run into `book`, if they are those of the same code.

    Returns
    -------
    bool
        False, and nothing copied, if a code cell differs, was not run, or lacks its figure.
    """
    new_cells, old_cells = code_cells(book), code_cells(old)
    if [cell.source for cell in new_cells] != [cell.source for cell in old_cells]:
        return False
    if [cell.execution_count for cell in old_cells] != list(range(1, len(old_cells) + 1)):
        return False
    pairs = list(zip(new_cells, old_cells, strict=True))
    if any("mystnb" in cell.metadata and not ran.outputs for cell, ran in pairs):
        return False
    for cell, ran in pairs:
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return True


def execute(book: NotebookNode, folder: Path) -> tuple[float, int]:
    """Run a notebook in place, in a fresh kernel that knows no settings of its user.

    Parameters
    ----------
    book : NotebookNode
    folder : Path
        The kernel's working directory.

    Returns
    -------
    seconds, megabytes
        Wall time from the kernel's start to its end, and the kernel's peak memory.

    Raises
    ------
    CellExecutionError
        If a cell raises.
    """
    book.cells.append(nbformat.v4.new_code_cell(PEAK))
    client = NotebookClient(
        book,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        client.execute(env={**os.environ, "IPYTHONDIR": empty})
    seconds = time.perf_counter() - start
    peak = int(book.cells.pop().outputs[0].text)
    book.metadata.language_info = NotebookNode(name="python")  # the client adds exact versions
    for cell in code_cells(book):
        cell.outputs = [tidy(output) for output in cell.outputs]
    return seconds, peak


def tidy(output: NotebookNode) -> NotebookNode:
    """Leave out of an output what differs from run to run, and make its PNG small.

    The view of a live widget goes: it means nothing without its kernel, and a notebook that is
    opened without one then shows the HTML that stands beside it.
    """
    if "data" in output:
        output.data.pop("application/vnd.jupyter.widget-view+json", None)
        output.metadata = NotebookNode()
        if "image/png" in output.data:
            png = small_png(base64.b64decode(output.data["image/png"]))
            output.data["image/png"] = base64.b64encode(png).decode()
    return output


def small_png(data: bytes) -> bytes:
    """Compress a PNG: 256 colours where no eye sees it, all of its colours otherwise."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    few = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    difference = ImageChops.difference(image, few.convert("RGB"))
    if max(high for _, high in difference.getextrema()) <= 12:
        image = few
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def write(path: Path, text: str) -> None:
    """Write a file beside its place and rename it, unless it says the same already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def read_run_times(book: Path) -> dict[str, tuple[int, int]]:
    """Seconds and megabytes of each chapter (path in the book without ending) as last measured."""
    path = book / "appendix" / "run_times.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["chapter"]: (int(row["seconds"]), int(row["MB"])) for row in csv.DictReader(file)
        }


def write_run_times(book: Path, measured: dict[str, tuple[int, int]]) -> None:
    """Bring the measurements up to date, and with them the versions they were made with."""
    names = [name_of(source, book) for source in chapters(book)]
    times = {**read_run_times(book), **measured}
    rows = [f"{name},{times[name][0]},{times[name][1]}" for name in names if name in times]
    write(book / "appendix" / "run_times.csv", "\n".join(["chapter,seconds,MB", *rows, ""]))
    if measured:
        versions = [f"Python,{platform.python_version()}"]
        versions += [f"{package},{version(package)}" for package in MEASURED]
        versions += [f"processor cores,{os.cpu_count()}"]
        write(book / "appendix" / "run_versions.csv", "\n".join(["what,value", *versions, ""]))


def name_of(source: Path, book: Path) -> str:
    """What a chapter is called: its path in the book without the ending."""
    return source.relative_to(book).with_suffix("").as_posix()


def update(source: Path, force: bool) -> tuple[str, tuple[int, int] | None]:
    """Bring one chapter's notebook up to date.

    Parameters
    ----------
    source : Path
        The chapter's `.py`.
    force : bool
        Run it even if its code is unchanged.

    Returns
    -------
    what was done, and (seconds, MB) if it ran
    """
    target = source.with_suffix(".ipynb")
    book = read_source(source)
    old = nbformat.read(target, as_version=4) if target.exists() else None
    measured = None
    if force or old is None or not reuse_outputs(book, old):
        seconds, megabytes = execute(book, source.parent)
        measured = (max(1, round(seconds)), megabytes)
    text = nbformat.writes(book) + "\n"
    unchanged = target.exists() and target.read_text(encoding="utf-8") == text
    write(target, text)
    if measured:
        return f"ran in {measured[0]} s, {measured[1]} MB, {len(text) // 1000} kB", measured
    return "unchanged" if unchanged else "text updated", None


def main(arguments: Iterable[str] | None = None) -> int:
    """Update the chapters and say what was done; the number of failures is the exit status."""
    parser = argparse.ArgumentParser(description="Bring the chapters' notebooks up to date.")
    parser.add_argument("paths", nargs="*", type=Path, help="chapters to run in any case")
    parser.add_argument("--all", action="store_true", help="run every chapter")
    parser.add_argument("--book", type=Path, default=ROOT / "book", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    book = options.book.resolve()

    known = chapters(book)
    chosen = [path.resolve().with_suffix(".py") for path in options.paths]
    for path in chosen:
        if path not in known:
            parser.error(f"{path} is no chapter: a .py with jupytext's header below {book}")
    # The first import of matplotlib on a machine may warn that it is slow, and the warning would
    # end up in a chapter.
    import matplotlib.font_manager  # noqa: F401

    failures = 0
    measured: dict[str, tuple[int, int]] = {}
    for source in chosen or known:
        name = name_of(source, book)
        try:
            what, cost = update(source, force=options.all or source in chosen)
        except CellExecutionError as error:
            what, cost = f"FAILED\n{error}", None
            failures += 1
        print(f"{name}: {what}", flush=True)
        if cost:
            measured[name] = cost
            if cost[0] > LIMIT_SECONDS:
                print(f"{name}: FAILED, it takes more than {LIMIT_SECONDS} s", flush=True)
                failures += 1
    write_run_times(book, measured)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
