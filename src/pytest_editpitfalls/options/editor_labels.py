"""Labels of editors: ``memit``, or ``memit+mle`` for MEMIT with Multi-Label Edit.

The label stands in node ids, results and tables. The engine knows the editor's name alone: both labels share one
editor and its hyper-parameters, and only the programs of round edits differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from pytest_editpitfalls.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from .config import RunConfig

MULTI_LABEL = "+mle"
"""Multi-Label Edit: the second step of a round edit writes all true objects together."""

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_WHERE = "--pitfalls-editor"


def editor_name(label: str) -> str:
    """Return the name of the editor: "memit" of "memit+mle"."""
    return label.removesuffix(MULTI_LABEL)


def is_multi_label(label: str) -> bool:
    """Return whether the label asks for Multi-Label Edit."""
    return label.endswith(MULTI_LABEL)


def check_label(label: str, known: Collection[str], *, where: str) -> None:
    """Raise `UsageError` for an unknown editor or an unknown suffix, with what is known."""
    name = editor_name(label)
    if name in known:
        return
    base, plus, suffix = name.rpartition("+")
    if plus and base in known:
        again = is_multi_label(label)  # "memit+mel+mle": what stands before the suffix is wrong
        raise UsageError(
            f"unknown suffix '+{suffix}' of editor '{base}'",
            where=where,
            fix=f"write '{base}{MULTI_LABEL}', once"
            if again
            else did_you_mean(f"{base}+{suffix}", [base, base + MULTI_LABEL]),
        )
    raise UsageError(f"unknown editor '{name}'", where=where, fix=did_you_mean(name, known))


def check_settings(label: str, known: Collection[str], *, where: str) -> None:
    """Raise `UsageError` for hyper-parameters of an unknown editor, or of a label with Multi-Label Edit."""
    name = editor_name(label)
    if is_multi_label(label) and name in known:
        raise UsageError(
            f"'{label}' has no hyper-parameters of its own",
            where=where,
            fix=f"set those of '{name}': they apply to both",
        )
    if label not in known:
        raise UsageError(f"unknown editor '{label}'", where=where, fix=did_you_mean(label, known))


def check_are_used(run: RunConfig) -> None:
    """Raise `UsageError` where hyper-parameters were typed for an editor that is not run."""
    editors = {editor_name(label) for label in run.editors}
    if unused := sorted(run.overrides_asked - editors):
        raise UsageError(
            f"{_listed(unused)} is not run",
            where="--pitfalls-set",
            fix=f"this run has {_listed(sorted(editors))}: correct the name, or add --pitfalls-editor={unused[0]}",
        )


def unused_settings(run: RunConfig) -> str | None:
    """Return what there is to say of hyper-parameters in files for editors that are not run; None where all are."""
    editors = {editor_name(label) for label in run.editors}
    sources = [
        ("pitfalls_set or addopts", sorted(run.overrides.keys() - editors)),
        (str(run.config_path), sorted(run.config_tables.keys() - editors)),
    ]
    found = "; ".join(f"{_listed(names)} ({source})" for source, names in sources if names)
    return f"hyper-parameters of editors that are not run: {found}" if found else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def labels_of(typed: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Labels of editors as typed: an editor given as ``package.module:attribute`` is called by its attribute.

    Returns:
        The labels, and the paths of those given by path: name -> ``package.module:attribute``.

    Raises:
        UsageError: a path that is none, or two of one attribute name.
    """
    labels: list[str] = []
    paths: dict[str, str] = {}
    for text in typed:
        path = editor_name(text)
        if ":" not in path:
            labels.append(text)
            continue
        if not _PATH.fullmatch(path):
            raise UsageError(
                f"'{path}' is not package.module:attribute",
                where=_WHERE,
                fix="for instance --editor=my_package.my_module:my_editor",
            )
        name = path.partition(":")[2].rpartition(".")[2]
        if paths.setdefault(name, path) != path:
            raise UsageError(
                f"{paths[name]} and {path} would both be called '{name}'",
                where=_WHERE,
                fix="give one of the attributes another name",
            )
        labels.append(name + (MULTI_LABEL if is_multi_label(text) else ""))
    return tuple(dict.fromkeys(labels)), paths


def as_typed(label: str, run: RunConfig) -> str:
    """What was typed for ``label``."""
    path = run.editor_paths.get(editor_name(label))
    return label if path is None else path + (MULTI_LABEL if is_multi_label(label) else "")
