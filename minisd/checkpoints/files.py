"""Weights out of files: safetensors, whole or in shards, and PyTorch's pickles, none of which may run code.

A file is mapped into memory, not read: a weight costs memory when it is first used, and the system may drop it again.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SAFE, PICKLE = (".safetensors",), (".ckpt", ".bin", ".pt", ".pth")
SUFFIXES = SAFE + PICKLE
"""Of the files that hold weights."""


NAMES = (
    ("diffusion_pytorch_model", "safetensors"),
    ("model", "safetensors"),
    ("diffusion_pytorch_model", "bin"),
    ("pytorch_model", "bin"),
)
"""How diffusers and transformers call a folder's weights; those that cannot run code first."""


class _Ignored:
    """Takes whatever a pickle says of it, and keeps nothing."""

    def __new__(cls, *args: Any) -> _Ignored:
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


STAND_INS = [
    type(name, (_Ignored,), {"__module__": module})
    for module, name in (
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy", "dtype"),
    )
]
"""Inert classes by the names that ``sd-v1-4.ckpt`` and ``v1-5-pruned.ckpt`` pickle beside their weights: the record of
the training, with its best loss (diffusers issue 8874, ComfyUI pull request 10333)."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of one network or of several.

    Parameters
    ----------
    path : path
        ``.safetensors``; ``.ckpt``, ``.bin``, ``.pt`` or ``.pth``; or the ``.index.json`` of a file in shards. What a
        pickle nests in ``state_dict`` is taken out; whatever is no tensor is left out.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the file's own number format. Writing to them does not write to the file.

    Raises
    ------
    ValueError
        If the file is absent, cut short, damaged, or not of these kinds; if a pickle asks for code, which is not run.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not there, or is no file")
    if path.name.endswith(".json"):
        return _read_shards(path)
    if path.suffix in SAFE:
        return _read_safetensors(path)
    if path.suffix in PICKLE:
        return _read_pickle(path)
    raise ValueError(f"{path} ends with {path.suffix!r}; weights are in files of {SUFFIXES}")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        If the file is absent, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def pick_weights(names: Collection[str], where: str, variant: str | None = None) -> list[str]:
    """Choose which files of a folder hold its network's weights.

    Parameters
    ----------
    names : collection of str
        The files of the folder.
    where : str
        What to call the folder in an error.
    variant : str, optional
        For example "fp16": the files that say so in their name.

    Returns
    -------
    list of str
        The file to give to `read_state_dict`, then the shards that it names, if any. Safetensors go before pickles.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    mark = f".{variant}" if variant else ""
    dot = re.escape(mark)
    for stem, kind in NAMES:
        whole = f"{stem}{mark}.{kind}"
        if whole in names:
            return [whole]
        # diffusers and transformers have put the variant in either place
        for index in (f"{stem}.{kind}.index{mark}.json", f"{stem}.{kind}{mark}.index.json"):
            if index in names:
                shard = re.compile(rf"{stem}(?:{dot}-\d+-of-\d+|-\d+-of-\d+{dot})\.{kind}")
                return [index, *sorted(filter(shard.fullmatch, names))]
    found = sorted(name for name in names if Path(name).suffix in SUFFIXES)
    marks = {m[1] for name in found if (m := re.search(r"\.(\w+)(?:-\d+-of-\d+)?\.\w+$", name))}
    wanted = f"no {variant!r} weights" if variant else "no weights"
    hint = f"; it has variant {sorted(marks)}" if marks - {variant} else ""
    raise ValueError(f"{where} has {wanted} (files of weights there: {found}){hint}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors  # here, since most of minisd does without
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    settings = read_json(index)
    where = settings.get("weight_map")
    if not isinstance(where, Mapping):
        raise ValueError(f"{index} has no weight_map: it is no index of shards")
    files = sorted(set(where.values()))
    absent = [name for name in files if not (index.parent / name).is_file()]
    if absent:
        raise ValueError(f"{index} names {len(files)} shards, of which {absent} are not there")
    state = {}
    for name in files:
        state |= read_state_dict(index.parent / name)
    return state


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # only the zip format, PyTorch's since 1.6, can be mapped
    mapped = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of storages deprecated
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _damaged(path, error) from error
        raise ValueError(
            f"{path} asks for {asked[1]!r}, which is not weights but code. It is refused, and nothing was run. "
            "Do not load it elsewhere, unless you know who made it; look for the same weights in a .safetensors file"
        ) from None
    except (EOFError, RuntimeError, OSError, AttributeError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no state dict, but a {type(content).__name__}")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _damaged(path: Path, error: Exception) -> ValueError:
    """Say what a file that cannot be read probably is."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        reason = "it is the note that git leaves of a large file; run `git lfs pull` beside it"
    elif start.lstrip().startswith((b"<!", b"<html")):
        reason = "it is a web page, so the download failed"
    else:
        reason = f"it is cut short or damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    size = path.stat().st_size
    return ValueError(f"{path} ({size:,} bytes) is not a whole file of weights: {reason}")
