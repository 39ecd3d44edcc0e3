"""The options of an audit: ``--pitfalls-edited`` in the place of an editor, and the base that it is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_editpitfalls.engine.edited_checkpoint.declare import checkpoint_labels
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import absolute

from .given import typed_options

_EDITED, _BASE = "--pitfalls-edited", "--pitfalls-base"


def audited(config: pytest.Config) -> dict[str, str]:
    """Return the edited checkpoints of the run by label, directories made absolute; empty in a run with an editor.

    Where one of an editor and a checkpoint is typed for this run, the other one, in ``addopts``, is for other runs.

    Raises:
        UsageError: both are given, or what makes no sense with the one that is.
    """
    edited = tuple(config.getoption("pitfalls_edited") or ())
    typed = typed_options(config)
    if edited and config.getoption("pitfalls_editor"):
        if ("pitfalls_edited" in typed) == ("pitfalls_editor" in typed):
            raise UsageError(
                "an audit takes a checkpoint as it is, and an editor would edit another model",
                where=f"{_EDITED} and --pitfalls-editor",
                fix="leave one of them out",
            )
        edited = edited if "pitfalls_edited" in typed else ()
    if not edited:
        if "pitfalls_base" in typed:
            raise UsageError(
                "there is a base, and no edited checkpoint that it could be the base of",
                where=_BASE,
                fix=f"add {_EDITED}=DIR; in a run with an editor the model is named with --pitfalls-model",
            )
        return {}
    if "pitfalls_model" in typed:
        raise UsageError(
            "an audit has no models but the edited checkpoint and its base",
            where="--pitfalls-model",
            fix=f"name the model before the edits with {_BASE}",
        )
    here = config.invocation_params.dir
    found = dict.fromkeys(_directory(each.strip(), here) for each in edited)
    return checkpoint_labels(tuple(found))


def base_of(config: pytest.Config) -> tuple[str, ...]:
    """Return the one base model of an audit.

    Raises:
        UsageError: there is none, or there are several.
    """
    given = tuple(dict.fromkeys(each.strip() for each in config.getoption("pitfalls_base") or ()))
    if not given:
        raise UsageError(
            "its base is missing: what edits broke is seen beside the model before them",
            where=_EDITED,
            fix=f"add {_BASE}=MODEL: a directory, a Hugging Face id or a short name",
        )
    if len(given) > 1:
        raise UsageError(
            f"there are several: {', '.join(given)}", where=_BASE, fix="audit the checkpoints of one base at a time"
        )
    return given


def _directory(text: str, here: Path) -> str:
    """Make the path of a directory or file absolute, starting in ``here``; leave ids alone."""
    try:
        path = here / Path(text).expanduser()
        if path.exists():
            return str(absolute(path))
    except (RuntimeError, OSError, ValueError):
        raise UsageError(f"'{text}' cannot be a path", where=_EDITED, fix="write the directory in full") from None
    return text
