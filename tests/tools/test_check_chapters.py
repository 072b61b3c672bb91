"""The gate closes: each fault that it is there for, put into a chapter that was whole."""

import os
import subprocess
import sys

import nbformat
import pytest

from tools.check_chapters import book_faults, chapter_faults


def chapter(book):
    return book / "diffusion" / "forward.py"


def edit(book, change):
    """Read the tiny chapter's notebook, let `change` spoil it, write it back."""
    path = chapter(book).with_suffix(".ipynb")
    notebook = nbformat.read(path, as_version=4)
    change(notebook, [cell for cell in notebook.cells if cell.cell_type == "code"])
    nbformat.write(notebook, path)


def edit_text(book, old, new):
    text = chapter(book).read_text()
    assert old in text
    chapter(book).write_text(text.replace(old, new))


def test_whole_chapter_passes(tiny_book):
    assert chapter_faults(chapter(tiny_book), tiny_book) == []


def never_run(notebook, code):
    code[1].execution_count = None


def run_out_of_order(notebook, code):
    code[1].execution_count = 7


def no_alt_text(notebook, code):
    del code[0].metadata["mystnb"]["image"]


def no_caption(notebook, code):
    code[0].metadata["mystnb"]["figure"]["caption"] = " "


def second_picture(notebook, code):
    code[0].outputs.append(code[0].outputs[0])


def picture_nowhere_described(notebook, code):
    code[1].outputs = code[0].outputs


def frame_without_alt(notebook, code):
    code[2].outputs[0].data["text/html"] = (
        code[2].outputs[0].data["text/html"].replace('alt="Power 1."', 'alt=""')
    )


def no_slider(notebook, code):
    code[2].outputs = []


def stderr(notebook, code):
    code[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="UserWarning"))


def error(notebook, code):
    code[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]))


def timing(notebook, code):
    code[1].metadata["execution"] = {"iopub.status.busy": "2024-01-01T00:00:00Z"}


def printed_timing(notebook, code):
    code[1].outputs[0].text = "took 12 ms"


def address(notebook, code):
    code[1].outputs[0].text = "<object at 0x7f0011223344>"


def digits(notebook, code):
    code[1].outputs[0].text = "0.12345678"


def widget_state(notebook, code):
    notebook.metadata["widgets"] = {}


def widget_view(notebook, code):
    code[2].outputs[0].data["application/vnd.jupyter.widget-view+json"] = {"model_id": "a"}


def skipped(notebook, code):
    code[1].source = "# NBVAL_SKIP\nprint(1 + 1 == 2)"


def other_code(notebook, code):
    code[1].source = "print(1 + 1 == 3)"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (never_run, "not run in order"),
        (run_out_of_order, "not run in order"),
        (no_alt_text, "without image.alt"),
        (no_caption, "without figure.caption"),
        (second_picture, "one a cell"),
        (picture_nowhere_described, "without figure.name"),
        (frame_without_alt, "no alt text"),
        (no_slider, "no slider"),
        (stderr, "stderr"),
        (error, "ends in an error"),
        (timing, "timings"),
        (printed_timing, "a timing"),
        (address, "an address"),
        (digits, "more digits"),
        (widget_state, "widget state"),
        (widget_view, "view of a widget"),
        (skipped, "asks nbval not to look"),
        (other_code, "differs from the .py in its source"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_spoiled_notebook_is_refused(tiny_book, spoil, words):
    edit(tiny_book, spoil)
    assert any(words in fault for fault in chapter_faults(chapter(tiny_book), tiny_book))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("print(1 + 1 == 2)", "print(2 == 1 + 1)", "differs from the .py"),
        ("It says much", "It says little", "differs from the .py"),
        ("\n# $$ 1 + 1", "\n# More.\n# $$ 1 + 1", "differs from the .py"),
    ],
)
def test_text_that_parted_from_its_notebook_is_refused(tiny_book, old, new, words):
    edit_text(tiny_book, old, new)
    assert any(words in fault for fault in chapter_faults(chapter(tiny_book), tiny_book))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("**Time**", "Time", "lacks **Time**"),
        ("**You will be able to**", "You", "lacks **You will be able to**"),
        ("# A tiny chapter", "A tiny chapter", "title"),
        ('road("forward")', 'road("samplers")', "no cell draws road"),
        ("## Exercises", "## Tasks", "'## Exercises'"),
        ("## What the literature says", "## Papers", "'## What the literature says'"),
        (" {cite}`ho2020`", "", "has no citation"),
        ("## The way on", "## Next", "'## The way on'"),
        ("{doc}`reverse`", "on", "has no link"),
        (":class: dropdown", ":class: note", "not folded"),
        ("{solution-start} forward-two", "{solution-start} forward-one", "has no solution"),
        ("## Play", "## Play\n\n$$ a $$\n\n## More", "no cell checks the formula a"),
    ],
)
def test_missing_part_is_refused(tiny_book, old, new, words):
    def replace(notebook, code):
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    edit(tiny_book, replace)
    assert any(words in fault for fault in chapter_faults(chapter(tiny_book), tiny_book))


def test_unexecuted_solution_is_refused(tiny_book):
    def drop(notebook, code):
        notebook.cells.remove(code[-1])

    edit(tiny_book, drop)
    faults = chapter_faults(chapter(tiny_book), tiny_book)
    assert "the solution of forward-two runs nothing" in faults


def test_chapter_without_a_notebook_is_refused(tiny_book):
    chapter(tiny_book).with_suffix(".ipynb").unlink()
    assert "was never run" in chapter_faults(chapter(tiny_book), tiny_book)[0]


def test_book_lists_and_measures_its_chapters(tiny_book, tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: book/index\nchapters:\n  - file: book/diffusion/forward\n")
    assert book_faults(tiny_book, toc) == []
    toc.write_text("root: book/index\n")
    assert book_faults(tiny_book, toc) == ["diffusion/forward is not in _toc.yml"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [("", "is not in run_times.csv"), ("diffusion/forward,61,300\n", "takes 61 s; at most 60")],
)
def test_unmeasured_and_slow_chapters_are_refused(tiny_book, tmp_path, rows, words):
    toc = tmp_path / "_toc.yml"
    toc.write_text("- file: book/diffusion/forward\n")
    (tiny_book / "appendix" / "run_times.csv").write_text("chapter,seconds,MB\n" + rows)
    assert [fault for fault in book_faults(tiny_book, toc) if words in fault]


def test_notebook_without_text_and_repeated_figure_are_refused(tiny_book, tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text("- file: book/diffusion/forward\n")
    notebook = chapter(tiny_book).with_suffix(".ipynb")
    notebook.with_name("stray.ipynb").write_bytes(notebook.read_bytes())
    assert "diffusion/stray.ipynb has no .py beside it" in book_faults(tiny_book, toc)
    chapter(tiny_book).with_name("stray.py").write_bytes(chapter(tiny_book).read_bytes())
    assert "diffusion/stray and diffusion/forward both name a figure forward-road" in book_faults(
        tiny_book, toc
    )


def nbval(book):
    """Type `pytest --nbval book` in the folder that holds `book`."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "book", "-q", "-p", "no:cacheprovider"],
        cwd=book.parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def test_nbval_passes_an_honest_chapter(tiny_book):
    # Other pictures come out where another build of matplotlib or of a font draws them.
    edit(
        tiny_book,
        lambda notebook, code: (
            code[2]
            .outputs[0]
            .data.update(
                {
                    "text/html": code[2]
                    .outputs[0]
                    .data["text/html"]
                    .replace("base64,", "base64,AAAA"),
                }
            )
        ),
    )
    result = nbval(tiny_book)
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout


def test_nbval_fails_when_stored_outputs_are_altered_by_hand(tiny_book):
    def alter(notebook, code):
        code[1].outputs[0].text = "False\n"
        code[2].outputs[0].data["text/html"] = (
            code[2].outputs[0].data["text/html"].replace("Power 2.", "Power 3.")
        )
        code[4].outputs[0].data["text/plain"] = "7"

    edit(tiny_book, alter)
    result = nbval(tiny_book)
    assert result.returncode == 1, result.stdout
    assert "3 failed, 2 passed" in result.stdout
