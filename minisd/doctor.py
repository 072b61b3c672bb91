"""What is installed, what it runs on, and what is missing with the command that mends it.

It needs nothing but Python's own library, so that it still speaks where everything else fails:
``python -m minisd.doctor`` says the same as ``minisd doctor``.
"""

import importlib
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
"""The versions that the book was tested with; absent where minisd is no checkout."""


@dataclass(frozen=True)
class Package:
    """One package that minisd names.

    Attributes
    ----------
    name : str
    group : str
        ``"core"``, or the extra that brings it.
    installed : str or None
        Its version here, None if it is missing.
    tested : str or None
        Its version in ``constraints.txt``, None if that is not known.
    """

    name: str
    group: str
    installed: str | None
    tested: str | None

    @property
    def state(self) -> str:
        """One of "ok", "other version" and "missing"; a build's suffix (+cpu) does not count."""
        if self.installed is None:
            return "missing"
        same = self.tested in (None, self.installed, self.installed.partition("+")[0])
        return "ok" if same else "other version"


def read_pins(constraints: Path) -> dict[str, str]:
    """Read the exact versions of a constraints file.

    Parameters
    ----------
    constraints : Path
        Lines ``name==version``. A file that does not exist pins nothing.

    Returns
    -------
    dict of str to str
        Name as pip compares it (lower case, dashes) to version.
    """
    if not constraints.is_file():
        return {}
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pins = (line.split("#")[0].strip().split("==") for line in lines if "==" in line)
    return {_normal(name): version for name, version in pins}


def examine(constraints: Path = CONSTRAINTS) -> list[Package]:
    """Look at each package that minisd and its extras name.

    Parameters
    ----------
    constraints : Path
        The versions to compare with.

    Returns
    -------
    list of Package
        The core first, then each extra in the order of ``pyproject.toml``.
    """
    pins = read_pins(constraints)
    found = []
    for requirement in metadata.requires("minisd") or []:
        name = _normal(re.match(r"[\w.-]+", requirement).group())
        extra = re.search(r"""extra == ["'](\w+)["']""", requirement)
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = None
        group = extra.group(1) if extra else "core"
        found.append(Package(name, group, installed, pins.get(name)))
    return found


def describe_torch() -> str:
    """Say which torch is here and on what it computes.

    Returns
    -------
    str
        One line; a second one if there is an NVIDIA driver that this torch cannot use.

    Raises
    ------
    ImportError
        If torch is missing or does not load.
    """
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        where = f"cuda, {torch.cuda.get_device_name(0)}"
    elif torch.backends.mps.is_available():
        where = "mps"
    else:
        where = "cpu"
    line = f"torch {torch.__version__} on {where}; {torch.get_num_threads()} CPU threads"
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        line += "\nAn NVIDIA driver is here, and this torch cannot use it: make book TORCH=cuda"
    return line


def report(constraints: Path = CONSTRAINTS) -> tuple[str, bool]:
    """Write all of it down.

    Parameters
    ----------
    constraints : Path
        The versions to compare with.

    Returns
    -------
    text : str
        For a person, and for a bug report: it names no folder and no user.
    sound : bool
        False if anything of the core is missing or torch does not load. An extra may be missing.
    """
    lines = [
        f"minisd {metadata.version('minisd')}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    ]
    packages = examine(constraints)
    sound = not any(p.group == "core" and p.state == "missing" for p in packages)
    try:
        lines.append(describe_torch())
    except (ImportError, OSError) as error:  # a broken library raises OSError
        lines.append(f"torch does not load: {error}")
        sound = False

    for group in dict.fromkeys(package.group for package in packages):
        lines += ["", group]
        members = [package for package in packages if package.group == group]
        for p in members:
            tested = f"tested with {p.tested}" if p.state == "other version" else ""
            lines.append(f"  {p.state:14}{p.name:24}{p.installed or '':16}{tested}".rstrip())
        if any(p.state != "ok" for p in members):
            lines.append(f"  mend it with: {_mend(group, constraints.is_file())}")
    return "\n".join(lines), sound


def _mend(group: str, checkout: bool) -> str:
    """Give the command that installs a group, with the tested versions where they are known."""
    extra = "" if group == "core" else f"[{group}]"
    if checkout:
        return f'python -m pip install -c constraints.txt -e ".{extra}"'
    return f'python -m pip install "minisd{extra}"'


def _normal(name: str) -> str:
    """Write a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    text, sound = report()
    print(text)
    sys.exit(0 if sound else 1)
