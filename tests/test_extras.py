"""A missing package is named with the command that installs it; a broken one is not hidden."""

import json
import re
import sys

import pytest

from minisd.extras import require


def test_module_is_given():
    assert require("json", "book") is json
    assert require("os.path", "book").join("a", "b")


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_missing_module_is_named_with_its_command(module):
    words = f'{module} is not installed; install it with: pip install "minisd[brain]"'
    with pytest.raises(ImportError, match=re.escape(words)):
        require(module, "brain")


def test_fault_inside_a_module_is_its_own(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="'no_such_package'"):
        require("broken_inside", "book")
    assert "broken_inside" not in sys.modules
