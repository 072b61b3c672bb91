"""Packages that only some of minisd needs, named with the command that installs them."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import a module that one of minisd's extras brings.

    Parameters
    ----------
    module : str
        Dotted name, for example ``"matplotlib.pyplot"``.
    extra : str
        The extra of ``pyproject.toml`` that installs it, for example ``"book"``.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed; the message gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the module itself being absent is the user's to mend; a fault inside it is not.
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise ImportError(
            f'{module} is not installed; install it with: pip install "minisd[{extra}]"'
        ) from error
