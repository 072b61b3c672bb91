"""The API reference lists every module of minisd, once."""

import pkgutil
import re
from pathlib import Path

import minisd

PAGE = Path(__file__).resolve().parents[1] / "book" / "appendix" / "api.md"


def test_every_module_is_on_the_page_once():
    listed = re.findall(r"automodule:: (\S+)", PAGE.read_text(encoding="utf-8"))
    # A package only gathers what its modules define.
    modules = [m.name for m in pkgutil.walk_packages(minisd.__path__, "minisd.") if not m.ispkg]
    modules.remove("minisd.__main__")
    assert sorted(listed) == sorted(modules)
