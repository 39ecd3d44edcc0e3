"""TOML texts, with the standard library's reader or, before Python 3.11, the one it was made from."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(text: str) -> dict[str, Any]:
    """The tables of ``text``; raises ValueError where it is not TOML."""
    return tomllib.loads(text)


def toml_value(text: str) -> Any:
    """Read ``text`` as a TOML value (``0.1``, ``true``, ``[8]``); anything else is a plain string."""
    try:
        table = read_toml(f"value = {text}")
    except ValueError:
        return text
    return table["value"] if len(table) == 1 else text
