"""Importing minisd needs none of the extras, and its parts import each other in one direction."""

import ast
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import minisd

ROOT = Path(__file__).resolve().parents[1]

GROUND = {"diffusion", "images", "models", "scenes", "nsd"}
BUILT = GROUND | {"guidance", "settings", "start", "pipeline", "checkpoints", "training", "metrics"}
FACES = {"plots", "widgets", "cli", "cli_nsd", "cli_leaderboard", "doctor"}
MAY_IMPORT = {
    "diffusion": set(),
    "images": set(),
    "models": set(),
    "scenes": set(),
    "nsd": {"scenes"},
    "guidance": {"diffusion"},
    "settings": {"diffusion"},
    "start": {"diffusion", "images"},
    "pipeline": BUILT,
    "checkpoints": BUILT,
    "training": BUILT,
    "metrics": BUILT,
    "text_to_embedding": BUILT,
    "steering": BUILT | {"text_to_embedding"},
    "decoding": BUILT,
    "plots": BUILT | {"decoding"},
    "widgets": BUILT | {"decoding"},
    "explorer": set(),
    "doctor": set(),
    "cli_nsd": {"nsd"},
    "cli_leaderboard": {"cli_nsd", "decoding", "metrics"},
    "cli": BUILT | {"decoding"} | FACES,
    "extras": set(),
    "__main__": {"cli"},
}
"""Who stands on whom, as parts of minisd; each may import itself and `extras`."""


def modules_in(package: Path) -> dict[str, Path]:
    """Map dotted names to files."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Name the modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                source = ".".join([*here[: len(here) - node.level + 1], source]).strip(".")
            inner = [f"{source}.{alias.name}" for alias in node.names]
            wanted = [module if module in modules else source for module in inner]
        else:
            continue
        yield from (module for module in wanted if module in modules and module != name)


def import_faults(package: Path) -> list[str]:
    """List imports against the design, and circles."""
    modules = modules_in(package)
    graph = {name: set(imports_of(name, path, modules)) for name, path in modules.items()}
    faults = []
    for name, targets in graph.items():
        part = name.split(".")[1] if "." in name else None
        if part is not None and part not in MAY_IMPORT:
            faults.append(f"{name} has no place in the design")
            continue
        allowed = {part, "extras"} | MAY_IMPORT.get(part, set())
        for target in sorted(targets):
            other = target.split(".")[1] if "." in target else None
            if other is not None and other not in allowed:
                faults.append(f"{name} imports {target}")
    reached: dict[str, set[str]] = {}
    for start in graph:
        waiting, reached[start] = list(graph[start]), set()
        while waiting:
            module = waiting.pop()
            if module not in reached[start]:
                reached[start].add(module)
                waiting.extend(graph[module])
    return faults + [
        f"{name} imports itself in a circle" for name in graph if name in reached[name]
    ]


def test_parts_import_each_other_as_designed():
    assert import_faults(ROOT / "minisd") == []


def test_the_check_sees_what_it_is_for(tmp_path):
    files = {
        "__init__.py": "",
        "extras.py": "",
        "diffusion/__init__.py": "from minisd.diffusion.schedule import a",
        "diffusion/schedule.py": "def a():\n    from ..scenes import draw",
        "scenes.py": "import minisd.plots",
        "plots.py": "from minisd import widgets",
        "widgets.py": "from . import plots, extras",
        "surprise.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "minisd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert import_faults(tmp_path / "minisd") == [
        "minisd.diffusion.schedule imports minisd.scenes",
        "minisd.plots imports minisd.widgets",
        "minisd.scenes imports minisd.plots",
        "minisd.surprise has no place in the design",
        "minisd.widgets imports minisd.plots",
        "minisd.plots imports itself in a circle",
        "minisd.widgets imports itself in a circle",
    ]


PROBE = """
import importlib, json, sys
from importlib.metadata import packages_distributions
from minisd.doctor import examine
packages = examine()
core = {p.name for p in packages if p.group == "core"}
extras = {p.name for p in packages if p.group != "core"} - core
for name in ("einops", "numpy", "PIL", "torch", "tqdm", "typer"):
    importlib.import_module(name)
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
brings = {top: {d.lower().replace("_", "-") for d in ds} for top, ds in packages_distributions().items()}
print(json.dumps(sorted(top for top in new if brings.get(top, set()) & extras)))
"""


def test_no_module_imports_an_extra():
    names = [name for _, name, _ in pkgutil.walk_packages(minisd.__path__, "minisd.")]
    assert "minisd.diffusion.schedule" in names
    assert "minisd.plots" in names
    result = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(["minisd", *names])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(result.stdout) == []


def test_importing_minisd_imports_nothing_heavy():
    code = "import sys, minisd; print([n for n in ('torch', 'numpy', 'typer') if n in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
