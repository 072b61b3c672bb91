"""How `pytest --nbval book` compares the chapters, wherever it is typed."""

from pathlib import Path

# The first import on a machine may warn that it is slow; in a chapter that would be an output.
import matplotlib.font_manager  # noqa: F401


def pytest_configure(config):
    """Run the chapters with this Python, and leave out of the comparison what `nbval.cfg` names."""
    config.option.nbval_current_env = True
    config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval.cfg"))
