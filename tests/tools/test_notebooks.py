"""Chapters run when their code changed, keep their outputs otherwise, and come out the same."""

import base64
import io

import jupytext
import matplotlib
import nbformat
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from tools import notebooks

matplotlib.use("agg")


def run(book, *arguments):
    return notebooks.main(["--book", str(book), *map(str, arguments)])


def source(book):
    return book / "diffusion" / "forward.py"


def stored(book):
    return nbformat.read(source(book).with_suffix(".ipynb"), as_version=4)


@pytest.fixture
def no_kernel(monkeypatch):
    """Fail where a chapter would be run."""

    def refuse(*arguments):
        raise AssertionError("a chapter was run")

    monkeypatch.setattr(notebooks, "execute", refuse)


@pytest.fixture
def counted(monkeypatch):
    """Note which chapters would be run, and run none."""
    ran = []

    def note(book, folder):
        ran.append(folder.name)
        for count, cell in enumerate(notebooks.code_cells(book), 1):
            cell.execution_count = count
        return 1.4, 100

    monkeypatch.setattr(notebooks, "execute", note)
    return ran


def test_run_notebook_is_whole_and_plain(tiny_run):
    book = stored(tiny_run)
    nbformat.validate(book)
    counts = [cell.execution_count for cell in notebooks.code_cells(book)]
    assert counts == [1, 2, 3, 4, 5]
    assert book.metadata == {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for output in [output for cell in notebooks.code_cells(book) for output in cell.outputs]:
        assert not output.get("metadata")
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def test_running_again_gives_the_same_bytes(tiny_book):
    path = source(tiny_book).with_suffix(".ipynb")
    before = path.read_bytes()
    assert run(tiny_book, "--all") == 0
    assert path.read_bytes() == before


def test_unchanged_chapter_is_not_touched(tiny_book, no_kernel, capsys):
    path = source(tiny_book).with_suffix(".ipynb")
    before = path.stat().st_mtime_ns
    assert run(tiny_book) == 0
    assert path.stat().st_mtime_ns == before
    assert capsys.readouterr().out == "diffusion/forward: unchanged\n"


def test_changed_text_is_taken_over_without_running(tiny_book, no_kernel, capsys):
    before = stored(tiny_book)
    source(tiny_book).write_text(source(tiny_book).read_text().replace("It says much", "Words"))
    assert run(tiny_book) == 0
    after = stored(tiny_book)
    assert "Words" in after.cells[-1].source
    changed = [a.id for a, b in zip(after.cells, before.cells, strict=True) if a != b]
    assert changed == [after.cells[-1].id]
    assert capsys.readouterr().out == "diffusion/forward: text updated\n"


def test_changed_caption_keeps_the_outputs(tiny_book, no_kernel):
    source(tiny_book).write_text(source(tiny_book).read_text().replace('"Here."', '"There."'))
    assert run(tiny_book) == 0
    cell = notebooks.code_cells(stored(tiny_book))[0]
    assert cell.metadata["mystnb"]["figure"]["caption"] == "There."
    assert cell.outputs


def test_changed_code_is_run(tiny_book, counted):
    source(tiny_book).write_text(source(tiny_book).read_text().replace("1 + 1 ==", "3 - 1 =="))
    assert run(tiny_book) == 0
    assert counted == ["diffusion"]


@pytest.mark.parametrize("spoil", ["execution_count", "outputs"])
def test_cell_that_did_not_run_is_run(tiny_book, counted, spoil):
    book = stored(tiny_book)
    cell = notebooks.code_cells(book)[0]
    cell[spoil] = None if spoil == "execution_count" else []
    nbformat.write(book, source(tiny_book).with_suffix(".ipynb"))
    assert run(tiny_book) == 0
    assert counted == ["diffusion"]


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_named_chapter_is_run_in_any_case(tiny_book, counted, suffix):
    assert run(tiny_book, source(tiny_book).with_suffix(suffix)) == 0
    assert counted == ["diffusion"]


def test_unknown_path_is_refused(tiny_book, capsys):
    with pytest.raises(SystemExit):
        run(tiny_book, tiny_book / "conftest.py")
    assert "is no chapter" in capsys.readouterr().err


def test_failing_chapter_fails_and_leaves_the_notebook(tiny_book, capsys):
    path = source(tiny_book).with_suffix(".ipynb")
    before = path.read_bytes()
    source(tiny_book).write_text(source(tiny_book).read_text().replace("print(1", "print(1 / 0"))
    assert run(tiny_book) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert {name.name for name in path.parent.iterdir()} == {"forward.py", "forward.ipynb"}


def test_slow_chapter_fails(tiny_book, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "execute", lambda book, folder: (60.6, 100))
    assert run(tiny_book, "--all") == 1
    assert "more than 60 s" in capsys.readouterr().out


def test_measurements_are_kept_and_dropped_with_their_chapter(tiny_book, counted):
    assert notebooks.read_run_times(tiny_book).keys() == {"diffusion/forward"}
    other = source(tiny_book).with_name("reverse.py")
    other.write_text(source(tiny_book).read_text())
    run(tiny_book, other)
    assert notebooks.read_run_times(tiny_book).keys() == {"diffusion/forward", "diffusion/reverse"}
    assert notebooks.read_run_times(tiny_book)["diffusion/reverse"] == (1, 100)
    other.unlink()
    run(tiny_book)
    assert notebooks.read_run_times(tiny_book).keys() == {"diffusion/forward"}


def test_versions_stand_beside_the_measurements(tiny_run):
    lines = (tiny_run / "appendix" / "run_versions.csv").read_text().splitlines()
    assert lines[0] == "what,value"
    names = [line.split(",")[0] for line in lines[1:]]
    assert names == ["Python", *notebooks.MEASURED, "processor cores"]


def test_jupytext_gives_the_text_back(tiny_run):
    again = jupytext.reads(jupytext.writes(stored(tiny_run), "py:percent"), "py:percent")
    for cell, text in zip(again.cells, notebooks.read_source(source(tiny_run)).cells, strict=True):
        assert (cell.cell_type, cell.source, cell.metadata) == (
            text.cell_type,
            text.source,
            text.metadata,
        )


def test_equal_cells_have_their_own_ids(tmp_path):
    path = tmp_path / "twice.py"
    path.write_text("# ---\n# ---\n\n# %%\n1\n\n# %%\n1\n")
    first, second = notebooks.read_source(path).cells
    assert first.id != second.id
    path.write_text("# ---\n# ---\n\n# %%\n0\n\n# %%\n1\n\n# %%\n1\n")
    assert [cell.id for cell in notebooks.read_source(path).cells[1:]] == [first.id, second.id]


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    return buffer.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


def test_photographs_keep_all_their_colours():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    small = opened(notebooks.small_png(png(picture)))
    assert (np.asarray(small) == picture).all()


def test_drawings_get_a_palette_that_nobody_sees():
    figure, axes = pyplot.subplots()
    axes.plot(np.sin(np.arange(100)))
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    pyplot.close(figure)
    small = notebooks.small_png(png(picture))
    assert opened(small).mode == "P"
    assert len(small) < len(png(picture))
    difference = np.asarray(opened(small).convert("RGB")).astype(int) - picture
    assert abs(difference).max() <= 12


def test_outputs_lose_widget_views_and_metadata():
    view = "application/vnd.jupyter.widget-view+json"
    picture = base64.b64encode(png(np.zeros((2, 2, 3), np.uint8))).decode()
    output = nbformat.v4.new_output(
        "display_data",
        data={view: {"model_id": "a"}, "text/html": "<p>", "image/png": picture},
        metadata={"image/png": {"width": 2}},
    )
    tidied = notebooks.tidy(output)
    assert set(tidied.data) == {"text/html", "image/png"}
    assert tidied.metadata == {}


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    notebooks.write(path, "old")

    def break_off(*arguments):
        raise OSError("the disk is full")

    monkeypatch.setattr(type(path), "replace", break_off)
    with pytest.raises(OSError, match="full"):
        notebooks.write(path, "new")
    assert path.read_text() == "old"
