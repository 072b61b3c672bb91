"""One list of versions: whoever names a package takes its version from constraints.txt."""

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([\w.-]+)==([\w.]+)$")
INSTALLERS = ("README.md", "Makefile", ".ci/run", ".github/workflows/book.yml", "environment.yml")


def pins_of(root):
    """Return the pins, and what is wrong with the list itself."""
    pins, faults = {}, []
    for line in (root / "constraints.txt").read_text().split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        match = PIN.match(line)
        if not match:
            faults.append(f"constraints.txt: {line!r} is not name==version")
            continue
        name = canonicalize_name(match.group(1))
        if name in pins:
            faults.append(f"constraints.txt: {name} is pinned twice")
        pins[name] = match.group(2)
    return pins, faults


def needed_by_pyproject(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in [project["dependencies"], *extras] for line in lines]


def pip_arguments(root):
    """List (file, arguments) of each `pip install` in the files that people and machines follow."""
    for name in INSTALLERS:
        if name == "environment.yml":
            continue
        for line in (root / name).read_text().replace("\\\n", " ").splitlines():
            command = re.search(r"(?:pip|\$\(PIP\)) install (.*)", line)
            if command:
                yield name, command.group(1)


def disagreements(root):
    """List each place that parts from constraints.txt, one sentence each."""
    pins, faults = pins_of(root)

    for requirement in needed_by_pyproject(root):
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None:
            faults.append(f"pyproject.toml: {requirement.name} is not pinned")
        elif pin not in requirement.specifier:
            faults.append(f"pyproject.toml: {requirement} does not allow the pinned {pin}")

    conda = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    for item in conda:
        if isinstance(item, str) and not re.fullmatch(r"python=3\.\d+|pip", item):
            faults.append(f"environment.yml: {item} does not come from constraints.txt")
    pip_lines = [line for item in conda if isinstance(item, dict) for line in item["pip"]]
    if "-c constraints.txt" not in pip_lines:
        faults.append("environment.yml: its pip section does not read constraints.txt")
    faults += [
        f"environment.yml: {line} names a package beside pyproject.toml"
        for line in pip_lines
        if not line.startswith(("-c constraints.txt", "-e .", "--extra-index-url "))
    ]

    for name, arguments in pip_arguments(root):
        bounded = (
            "-c constraints.txt" in arguments or "grep '^torch==' constraints.txt" in arguments
        )
        # "minisd[brain]" alone is for those who have no checkout, and so no constraints.txt.
        if not bounded and not arguments.strip("`\"' ").startswith("minisd"):
            faults.append(f"{name}: pip install {arguments} does not read constraints.txt")

    for name in INSTALLERS:
        text = (root / name).read_text()
        if re.search(r"torch\W{0,3}[=~<>]=\W{0,2}\d", text) or pins.get("torch", "none") in text:
            faults.append(f"{name}: writes torch's version a second time")
    return faults


def test_all_take_their_versions_from_one_list():
    assert disagreements(ROOT) == []


def test_installed_versions_are_the_pinned_ones():
    pins, _ = pins_of(ROOT)
    installed = {canonicalize_name(d.name): d.version for d in metadata.distributions()}
    parted = {
        name: (installed[name], pin)
        for name, pin in pins.items()
        if name in installed and Version(installed[name]).public != pin
    }
    assert parted == {}
    missing = {canonicalize_name(r.name) for r in needed_by_pyproject(ROOT)} - set(installed)
    assert missing == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("constraints.txt", "numpy==", "numpyy==", "pyproject.toml: numpy is not pinned"),
        ("constraints.txt", "scipy==", "scipy>=", "is not name==version"),
        ("constraints.txt", "torch==", "numpy==1.0\ntorch==", "numpy is pinned twice"),
        ("constraints.txt", "torch==2.", "torch==1.", "does not allow the pinned 1."),
        ("pyproject.toml", '"einops"', '"einops", "pooch"', "pooch is not pinned"),
        ("pyproject.toml", '"h5py"', '"h5py<3"', "h5py<3 does not allow"),
        ("environment.yml", "  - pip\n", "  - pip\n  - numpy=2.4\n", "numpy=2.4 does not come"),
        ("environment.yml", "      - -c constraints.txt\n", "", "does not read constraints.txt"),
        ("environment.yml", "- -e .", "- scipy==1.17\n      - -e .", "scipy==1.17 names a package"),
        ("Makefile", "install -c constraints.txt", "install", "does not read constraints.txt"),
        ("README.md", "#", "`pip install torch==2.13.0`\n#", "writes torch's version"),
        (".github/workflows/book.yml", "on:", "# torch 2.13.0\non:", "writes torch's version"),
    ],
)
def test_says_so_when_they_part(tmp_path, file, old, new, told):
    for name in {"constraints.txt", "pyproject.toml", *INSTALLERS}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert disagreements(tmp_path) == []
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert any(told in fault for fault in disagreements(tmp_path))
