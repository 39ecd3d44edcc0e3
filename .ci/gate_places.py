"""A pytest plugin of action.yml: says what to keep between jobs for the run that options and ini file ask for.

`gate places` loads it (`pytest -p gate_places`). Nothing is collected. The step's outputs go to the file that
GITHUB_OUTPUT names: `store`, the directory of finished cases, and `asked`, a digest of editors and models for the
cache's key, in which no comma and no line end may be.
"""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.reading import store_path


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    try:
        store = os.path.normpath(store_path(config))
        if len(store.splitlines()) > 1:  # each line of the file is an output
            raise UsageError(f"'{store}' has several lines", where="--pitfalls-store", fix="name another directory")
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    asked = "\n".join([*config.getoption("pitfalls_editor"), *(config.getoption("pitfalls_model") or ())])
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        # actions/cache takes a path for a pattern, and refuses ".." in it
        file.write(f"store={glob.escape(store)}\nasked={hashlib.sha256(asked.encode()).hexdigest()[:12]}\n")
    return 0
