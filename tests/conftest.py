"""What several tests share."""

import shutil
from pathlib import Path

import pytest

from tools.notebooks import ROOT, main


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A book of one small chapter that has been run, to be copied before it is changed."""
    book = tmp_path_factory.mktemp("tiny") / "book"
    shutil.copytree(ROOT / "tests" / "tiny_book", book)
    for name in ("conftest.py", "nbval.cfg"):
        shutil.copy(ROOT / "book" / name, book)
    assert main(["--book", str(book)]) == 0
    return book


@pytest.fixture
def tiny_book(tiny_run, tmp_path) -> Path:
    """A copy of that book, for one test to spoil."""
    return Path(shutil.copytree(tiny_run, tmp_path / "book"))
