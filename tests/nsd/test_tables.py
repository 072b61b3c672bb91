"""Columns out of tables of text."""

import numpy as np
import pytest

from minisd.nsd import Root
from minisd.nsd.tables import read_columns, whole_numbers


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "nsddata" / "a.csv"
    path.parent.mkdir()
    path.write_text(',id,box,rep0,rep1\n0,7,"(0, 1)",3,4\n1,8.0,"(2, 3)",5,6\n')
    return path


def test_columns_are_read_by_name(tmp_path, table):
    root = Root(tmp_path)
    assert read_columns(root, table, ["box", "id"]) == {
        "id": ["7", "8.0"],
        "box": ["(0, 1)", "(2, 3)"],
    }
    found = read_columns(root, table, ["id"], also=r"rep\d")
    assert list(found) == ["id", "rep0", "rep1"]
    assert whole_numbers("id", found["id"]).tolist() == [7, 8]
    table.write_text("\ufeffid\tname\r\n3\tx, y\r\n")
    assert read_columns(root, table, ["id", "name"], delimiter="\t") == {
        "id": ["3"],
        "name": ["x, y"],
    }


def test_a_table_without_lines_has_empty_columns(tmp_path, table):
    table.write_text("id,box\n")
    assert read_columns(Root(tmp_path), table, ["id"]) == {"id": []}
    assert whole_numbers("id", []).dtype == np.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nsddata/a.csv has no column id; it has none"),
        (b"name,box\n1,2\n", "nsddata/a.csv has no column id; it has name, box"),
        (
            b"id,box\n1,2\n3\n",
            "nsddata/a.csv line 3 has 1 fields, and the header 2: it is cut short",
        ),
        (b"id\n\xff\xfe\n", "nsddata/a.csv is no table in UTF-8"),
        (b'id,box\n1,"2\n', "nsddata/a.csv is no table in UTF-8 .unexpected end of data"),
    ],
)
def test_damage_is_named(tmp_path, table, content, message):
    table.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_columns(Root(tmp_path), table, ["id"])


@pytest.mark.parametrize("text", ["x", "1.5", "NaN", "", "inf"])
def test_a_number_that_is_not_whole_is_named_with_its_line(text):
    with pytest.raises(
        ValueError, match=rf"a.csv: id is '{text}' in line 3; it must be a whole number"
    ):
        whole_numbers("a.csv: id", ["1", text])
