"""Citations lead to entries, entries to works that can be read, and slips of the report to chapters."""

import re
from pathlib import Path

import pytest
from pybtex.database import BibliographyData, parse_file, parse_string

BOOK = Path(__file__).parents[1] / "book"
VENUE = {
    "article": "journal",
    "inproceedings": "booktitle",
    "book": "publisher",
    "misc": "howpublished",
}
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in sorted(p for kind in ("*.md", "*.py") for p in BOOK.rglob(kind))
}
ERRATA = PAGES[BOOK / "appendix/errata.md"]


def entry_faults(works: BibliographyData) -> list[str]:
    """What the entries lack, one line each."""
    faults = []
    for key, work in works.entries.items():
        needed = ["title", "year", VENUE.get(work.type, "a known type")]
        faults += [f"{key} has no {field}" for field in needed if not work.fields.get(field)]
        if not work.persons.get("author"):
            faults.append(f"{key} has no author")
        if not {"doi", "eprint", "url"} & set(work.fields):
            faults.append(f"{key} says not where it can be read")
        if "eprint" in work.fields and not re.fullmatch(r"\d{4}\.\d{4,5}", work.fields["eprint"]):
            faults.append(f"{key} has an eprint that is no arXiv number")
        if "doi" in work.fields and not re.fullmatch(r"10\.\d{4,}/\S+", work.fields["doi"]):
            faults.append(f"{key} has a doi that is none")
        if work.fields.get("year") not in key:
            faults.append(f"{key} is of {work.fields.get('year')}")
    return faults


def cited(text: str) -> set[str]:
    """The keys that a page cites."""
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return {key.strip() for keys in roles for key in keys.split(",")}


def linked(text: str) -> set[str]:
    """The slips that a page links to."""
    return set(re.findall(r"\b(?:erratum|slip)-[\w-]+", text))


WORKS = parse_file(BOOK / "references.bib")


def test_every_entry_is_whole():
    assert entry_faults(WORKS) == []


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("@misc{a2020, author={A}, title={T}, howpublished={H}, year=2020}", "a2020 says not where it can be read"),
        ("@misc{a2020, title={T}, howpublished={H}, year=2020, doi={10.1000/1}}", "a2020 has no author"),
        ("@article{a2020, author={A}, title={T}, year=2020, eprint={2001.00001}}", "a2020 has no journal"),
        ("@misc{a2021, author={A}, title={T}, howpublished={H}, year=2020, url={u}}", "a2021 is of 2020"),
    ],
)  # fmt: skip
def test_an_entry_that_is_not_whole_is_found_out(entry, fault):
    assert fault in entry_faults(parse_string(entry, "bibtex"))


def test_keys_are_sorted_and_stand_once():
    keys = re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(), re.M)
    assert keys == sorted(set(keys))


def test_no_work_stands_twice():
    for field in ("title", "doi", "eprint"):
        values = [w.fields[field].lower() for w in WORKS.entries.values() if field in w.fields]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(BOOK)))
def test_what_a_page_cites_is_there(page):
    assert cited(PAGES[page]) <= set(WORKS.entries)


def test_cited_reads_every_form():
    text = "{cite}`a` {cite:t}`b, c`, {cite:p}`d`"
    assert cited(text) == {"a", "b", "c", "d"}


def test_each_of_the_reports_references_has_a_row():
    table = PAGES[BOOK / "appendix/bibliography.md"]
    rows = re.findall(r"^\| \[(\d+)\] \|.*\{cite\}`\w+` \|$", table, re.M)
    assert [int(row) for row in rows] == list(range(1, 16))


def test_slips_that_pages_link_to_are_on_the_page_of_errata():
    labels = set(re.findall(r"^\((.+)\)=$", ERRATA, re.M))
    named = set().union(*(linked(text) for text in PAGES.values()))
    assert named <= labels


def test_each_slip_that_a_chapter_sets_right_is_linked_from_one():
    chapters = [text for path, text in PAGES.items() if path.suffix == ".py"]
    in_chapters = set().union(*(linked(text) for text in chapters))
    assert set(re.findall(r"^\((erratum-.+)\)=$", ERRATA, re.M)) <= in_chapters
