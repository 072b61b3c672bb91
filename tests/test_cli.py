"""The command `minisd` is installed, lists what it can do, and passes exit codes on."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minisd import doctor
from minisd.cli import app


def test_installed_command_lists_what_it_can_do():
    command = Path(sys.executable).with_name("minisd")
    result = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in result.stdout


@pytest.mark.parametrize(("sound", "code"), [(True, 0), (False, 1)])
def test_doctor_prints_and_passes_the_verdict_on(monkeypatch, sound, code):
    monkeypatch.setattr(doctor, "report", lambda: ("what was found", sound))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.output.strip() == "what was found"
    assert result.exit_code == code
