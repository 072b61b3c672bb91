"""Configuration: a dataclass for each network, read from the JSON that its checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Config = TypeVar("Config")


def read_config(
    kind: type[Config], settings: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
) -> Config:
    """Read a network's configuration from its checkpoint's settings.

    Parameters
    ----------
    kind : dataclass type
        Its fields have the names of the settings. A field without a default is one that a checkpoint must tell.
    settings : mapping
        The JSON object. Other settings than the fields and ``fixed`` do not touch the arithmetic and are passed over.
    fixed : mapping, optional
        Settings that the network knows one value of, with that value. Absent or null is that value.

    Returns
    -------
    instance of ``kind``
        JSON's lists become tuples.

    Raises
    ------
    ValueError
        If a setting that must be told is missing, or a fixed one has another value: those weights belong to another
        architecture, and would load and draw noise.
    """
    name = kind.__name__
    for key, value in (fixed or {}).items():
        if settings.get(key) is not None and settings[key] != value:
            raise ValueError(
                f"{key} is {settings[key]!r} in the settings of a {name}; minisd has {value!r} only"
            )
    known = {}
    for field in fields(kind):
        if settings.get(field.name) is not None:
            value = settings[field.name]
            known[field.name] = tuple(value) if isinstance(value, list) else value
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing in the settings of a {name}")
    return kind(**known)
