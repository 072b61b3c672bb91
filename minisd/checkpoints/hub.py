"""Checkpoints by their name on the Hugging Face hub: only the files that are needed, with a progress bar.

Nothing here is called unless a name of the hub was given. What was fetched once is found again without a network, in
the hub's own cache.
"""

from __future__ import annotations

import re
from pathlib import Path

from minisd.checkpoints.files import SUFFIXES, pick_weights

NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
WEIGHTS = ("unet", "vae", "text_encoder")
TOKENIZER = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
SETTINGS = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in WEIGHTS),
    *(f"tokenizer/{name}" for name in TOKENIZER),
)
"""What a diffusers folder holds beside its weights, as far as it is needed here."""


def is_hub_name(source: str) -> bool:
    """Whether this is how the hub names a repository, "owner/name", or a file in it, "owner/name/file.safetensors"."""
    file = re.fullmatch(rf"{NAME}/[\w./-]+", source)
    if file:
        return source.endswith(SUFFIXES)
    return re.fullmatch(NAME, source) is not None and not source.endswith(SUFFIXES)


def fetch(source: str, variant: str | None = None, revision: str | None = None) -> Path:
    """Fetch a checkpoint, or find it in the cache.

    Parameters
    ----------
    source : str
        See `is_hub_name`.
    variant : str, optional
        For example "fp16", as in `load_components`.
    revision : str, optional
        A branch, tag or commit; the newest of "main" unless given.

    Returns
    -------
    Path
        Of the folder, or of the file. What the repository lacks is not there: whoever reads it says so.

    Raises
    ------
    ValueError
        If the repository, the revision, the file or the variant does not exist, if the repository wants a licence
        accepted, or if it cannot be reached and is not in the cache.
    """
    owner, name, *file = source.split("/", 2)
    repository = f"{owner}/{name}"
    try:
        names = _list(repository, revision)
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # of the way there: the client's own, and those of the library that it calls with
        return _find_in_cache(repository, revision, file, error)
    wanted = (
        [*file, *(f"tokenizer/{name}" for name in TOKENIZER)] if file else [*SETTINGS, *TOKENIZER]
    )
    if file and file[0] not in names:
        raise ValueError(f"{repository} has no file {file[0]} on the hub")
    for part in () if file else WEIGHTS:
        inside = [n.removeprefix(f"{part}/") for n in names if n.startswith(f"{part}/")]
        if inside:
            chosen = pick_weights(inside, f"{part} of {repository}", variant)
            wanted += [f"{part}/{name}" for name in chosen]
    return _download(repository, wanted, revision).joinpath(*file)


def _list(repository: str, revision: str | None) -> list[str]:
    """Name the files of a repository."""
    from huggingface_hub import HfApi, errors

    try:
        return HfApi().list_repo_files(repository, revision=revision)
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{repository} wants its licence accepted: do so on its page on the hub, "
            "then log in here with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{repository} has no revision {revision!r} on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"{repository} is no file or folder here, and no repository on the hub that you may read; "
            "for a private one, log in with `hf auth login`"
        ) from error


def _download(repository: str, names: list[str], revision: str | None) -> Path:
    """Fetch files with a progress bar, unless the cache has them."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=names))
    except Exception as error:
        raise ValueError(
            f"fetching {repository} broke off ({_first_line(error)}); what has arrived is kept, and the next call "
            "goes on from there"
        ) from error


def _find_in_cache(
    repository: str, revision: str | None, file: list[str], error: Exception
) -> Path:
    """Find what was fetched before, for when the hub cannot be reached."""
    from huggingface_hub import try_to_load_from_cache

    for name in file or ("model_index.json", "merges.txt"):
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return Path(path) if file else Path(path).parent
    raise ValueError(
        f"{repository} is no file or folder here, it is not in the hub's cache, and the hub cannot be reached "
        f"({_first_line(error)}). Where there is a network, `hf download {repository} --local-dir FOLDER` fetches it; "
        "then give the folder"
    ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
