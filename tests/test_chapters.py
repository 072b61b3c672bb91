"""Every chapter of the book is whole; `pytest --nbval book` then runs it and compares outputs."""

import pytest

from tools.check_chapters import book_faults, chapter_faults
from tools.notebooks import ROOT, chapters

BOOK = ROOT / "book"


@pytest.mark.parametrize("source", chapters(BOOK), ids=lambda path: path.stem)
def test_chapter_is_whole(source):
    assert chapter_faults(source, BOOK) == []


def test_chapters_are_listed_measured_and_fast():
    assert book_faults(BOOK, ROOT / "_toc.yml") == []
