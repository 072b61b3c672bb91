"""The page of notation: each code name is in `minisd`, and each of the page's checks is true."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[1] / "book/front/notation.md"
TEXT = PAGE.read_text()
SYMBOLS = TEXT.split("## Symbols and code names")[1].split("## The papers' letters")[0]
CHECKS = re.search(r"```python\n(.+?)```", TEXT, re.S).group(1)


def code_names(text: str) -> list[str]:
    """Names in the column "Code" of each table, and in the sentences between the tables."""
    names = []
    code = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|"):
            code = None
            where = "" if line.startswith("All names stand in") else line
        elif "Code" in cells:
            code, where = cells.index("Code"), ""
        else:
            where = cells[code]
        names += [name for name in re.findall(r"`([^`]+)`", where) if name[0] != '"']
    return names


def look_up(name: str) -> None:
    """Find ``a.b(c)`` in `minisd.diffusion`; AttributeError or ModuleNotFoundError when it is not there."""
    path, parameter = re.fullmatch(r"([\w.]+)(?:\((\w+)\))?", name).groups()
    found = importlib.import_module("minisd.diffusion")
    for part in path.split("."):
        if dataclasses.is_dataclass(found) and part in {f.name for f in dataclasses.fields(found)}:
            found = None
        else:
            found = getattr(found, part)
    if parameter and parameter not in inspect.signature(found).parameters:
        raise AttributeError(f"{path} has no parameter {parameter}")


def test_the_page_names_the_code():
    names = code_names(SYMBOLS)
    assert len(names) > 50
    assert {"NoiseSchedule.alpha_bar", "samplers.ddim(eta)", "NoiseSchedule.cosine"} <= set(names)


@pytest.mark.parametrize("name", sorted(set(code_names(SYMBOLS))))
def test_each_code_name_is_in_minisd(name):
    look_up(name)


@pytest.mark.parametrize(
    "name",
    [
        "NoiseSchedule.alphabar",
        "NoiseSchedule.q_sample(noise)",
        "samplers.ddim(Eta)",
        "Step.x",
        "dddm",
    ],
)
def test_a_name_that_is_not_there_is_found_out(name):
    with pytest.raises(AttributeError):
        look_up(name)


def test_each_public_name_of_the_mathematics_is_on_the_page():
    public = importlib.import_module("minisd.diffusion").__all__
    named = set(re.findall(r"\w+", " ".join(code_names(SYMBOLS)) + CHECKS))
    helpers = {
        "Kind",
        "Noise",
        "Spacing",
        "SAMPLERS",
        "clipped_posterior_variance",
        "gaussian_flow",
    }
    assert set(public) - named <= helpers


def test_each_check_of_the_page_is_true():
    assert CHECKS.count("assert ") > 15
    torch.manual_seed(0)
    before = TEXT[: TEXT.index(CHECKS)].count("\n")  # so that a failure shows the page's own line
    exec(compile("\n" * before + CHECKS, str(PAGE), "exec"), {})
