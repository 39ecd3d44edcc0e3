"""Options of other people's plugins that are not there: said by name, where pytest says "unrecognized arguments"."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence

import pytest

from pytest_editpitfalls.errors import UsageError

_OPTIONS = {
    "pytest-xdist": ("xdist", r"-n(=?\d+|=?auto|=?logical)?|-d|--(numprocesses|maxprocesses|dist|tx)(=.*)?"),
    "pytest-timeout": ("pytest_timeout", r"--(session-)?timeout([-_]method)?(=.*)?"),
    "pytest-rerunfailures": ("pytest_rerunfailures", r"--(reruns|reruns-delay|only-rerun)(=.*)?"),
    "pytest-html": ("pytest_html", r"--(html|self-contained-html)(=.*)?"),
    "pytest-json-report": ("pytest_jsonreport", r"--json-report(-file)?(=.*)?"),
    "allure-pytest": ("allure_pytest", r"--(clean-)?alluredir(=.*)?"),
}
"""The plugins that the documentation names: distribution -> its module, and what its options look like."""


def refuse_missing_plugins(parser: pytest.Parser, args: Sequence[str]) -> None:
    """Raise `UsageError` for an option that nobody has registered, of a plugin that is not there or switched off.

    Called when the initial conftests are loaded: they may have options of these names.
    """
    typed = [word for word in args if any(re.fullmatch(pattern, word) for _, pattern in _OPTIONS.values())]
    if not typed:
        return
    unknown = parser.parse_known_and_unknown_args(list(args))[1]
    for word in typed:
        if word not in unknown:
            continue
        for package, (module, pattern) in _OPTIONS.items():
            if re.fullmatch(pattern, word) is None:
                continue
            if importlib.util.find_spec(module) is None:
                raise UsageError(f"{package} is not installed", where=word, fix=f"pip install {package}")
            raise UsageError(
                f"{package} is installed and switched off",
                where=word,
                fix="leave out what does it: -p no:..., PYTEST_DISABLE_PLUGIN_AUTOLOAD or --disable-plugin-autoload",
            )
