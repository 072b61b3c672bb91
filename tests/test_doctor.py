"""The doctor names what is here and what is missing, and the command mends it."""

import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from minisd import doctor
from minisd.cli import app


@pytest.fixture
def hide(monkeypatch):
    """Make a package look as if it were not installed."""

    def hide(name):
        real = metadata.version

        def version(asked):
            if asked == name:
                raise metadata.PackageNotFoundError(asked)
            return real(asked)

        monkeypatch.setattr(metadata, "version", version)

    return hide


def line_of(name, text):
    return next(line for line in text.splitlines() if f" {name} " in f"{line} ")


def test_names_versions_and_device():
    text, sound = doctor.report()
    assert sound
    assert f"minisd {metadata.version('minisd')}" in text
    assert f"Python {sys.version.split()[0]}" in text
    assert f"torch {metadata.version('torch')} on " in text
    assert "threads" in text
    assert metadata.version("einops") in line_of("einops", text)


def test_covers_core_and_every_extra():
    packages = doctor.examine()
    assert {p.group for p in packages} == {"core", "brain", "train", "book", "test"}
    assert {"torch", "numpy", "typer"} <= {p.name for p in packages if p.group == "core"}
    assert "nibabel" in {p.name for p in packages if p.group == "brain"}


def test_missing_core_package_fails_and_says_how_to_mend(hide):
    hide("einops")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "missing" in line_of("einops", result.output)
    assert 'python -m pip install -c constraints.txt -e "."' in result.output


def test_missing_extra_is_told_and_does_not_fail(hide):
    hide("nibabel")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "missing" in line_of("nibabel", result.output)
    assert '-e ".[brain]"' in result.output


def test_without_a_checkout_the_command_needs_none(hide, tmp_path):
    hide("nibabel")
    text, _ = doctor.report(tmp_path / "constraints.txt")
    assert 'python -m pip install "minisd[brain]"' in text
    assert "constraints.txt" not in text


def test_torch_that_does_not_load_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    text, sound = doctor.report()
    assert not sound
    assert "torch does not load" in text


def test_other_version_is_told(tmp_path):
    pins = tmp_path / "constraints.txt"
    pins.write_text("einops==0.0.1\ntorch==2.13.0  # a remark\n")
    text, sound = doctor.report(pins)
    assert sound
    assert "other version" in line_of("einops", text)
    assert "tested with 0.0.1" in line_of("einops", text)


@pytest.mark.parametrize(
    ("installed", "tested", "state"),
    [
        ("2.13.0+cpu", "2.13.0", "ok"),
        ("2.13.0", None, "ok"),
        ("2.13.1", "2.13.0", "other version"),
        (None, "2.13.0", "missing"),
    ],
)
def test_state(installed, tested, state):
    assert doctor.Package("torch", "core", installed, tested).state == state


def test_driver_that_torch_cannot_use_is_told(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "TORCH=cuda" in doctor.describe_torch()


def test_speaks_without_typer():
    code = (
        "import runpy, sys; sys.modules['typer'] = None;"
        "runpy.run_module('minisd.doctor', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert "einops" in result.stdout
