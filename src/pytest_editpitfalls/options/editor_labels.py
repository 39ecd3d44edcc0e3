"""Labels of editors: ``memit``, ``memit+mle`` with Multi-Label Edit, ``memit+seed1`` and ``memit+mle+seed1`` by seed.

The label stands in node ids, results and tables. The engine knows the editor's name alone: all labels of an editor
share its hyper-parameters. With Multi-Label Edit the programs of round edits differ; a label with a seed runs under
that seed instead of ``--pitfalls-seed``. The label without its seed names what several seeds of an editor say together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.outside.collection import collection_of
from pytest_editpitfalls.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from .config import RunConfig

MULTI_LABEL = "+mle"
"""Multi-Label Edit: the second step of a round edit writes all true objects together."""

MAX_SEED = 2**32 - 1
"""The largest seed that numpy takes."""

_SEED = "+seed"
_LABEL = re.compile(r"(?P<name>.*?)(?P<mle>\+mle)?(\+seed(?P<seed>0|[1-9]\d{0,9}))?", re.DOTALL)
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)=(?P<path>.*)", re.DOTALL)
_WHERE = "--pitfalls-editor"


def editor_name(label: str) -> str:
    """Return the name of the editor: "memit" of "memit+mle+seed1"."""
    return _parts(label)["name"] or ""


def is_multi_label(label: str) -> bool:
    """Return whether the label asks for Multi-Label Edit."""
    return _parts(label)["mle"] is not None


def seed_of(label: str) -> int | None:
    """Return the seed that the label names; None where it names none: then it is that of the run."""
    seed = _parts(label)["seed"]
    return None if seed is None else int(seed)


def without_seed(label: str) -> str:
    """Return what several seeds of an editor are called together: "memit+mle" of "memit+mle+seed1"."""
    seed = _parts(label)["seed"]
    return label if seed is None else label.removesuffix(f"{_SEED}{seed}")


def with_seed(label: str, seed: int) -> str:
    """Return the label of one seed: "memit+mle+seed1" of "memit+mle"."""
    return f"{without_seed(label)}{_SEED}{seed}"


def under_seeds(run: RunConfig, draws: Callable[[str], bool]) -> RunConfig:
    """Return the run with one label for each seed of an editor, in the place of the plain one.

    Args:
        draws: whether an editor, by its name, draws anything at random: one that does not keeps its plain label and
            runs once.

    A label that names its seed stays as it is. Beside it the plain label gets the run's own seed, so that the plain one
    is left for what all seeds say together.
    """
    named = {without_seed(label) for label in run.editors if seed_of(label) is not None}
    labels: list[str] = []
    for label in run.editors:
        several = run.seeds > 1 and draws(editor_name(label))
        if seed_of(label) is None and (several or label in named):
            labels += [with_seed(label, run.seed + place) for place in range(run.seeds if several else 1)]
        else:
            labels.append(label)
    return replace(run, editors=tuple(dict.fromkeys(labels)))


def runs_once(run: RunConfig) -> list[str]:
    """Return the labels that several seeds were asked for and that run once: their editors draw nothing."""
    return [label for label in run.editors if seed_of(label) is None] if run.seeds > 1 else []


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return "0 to 4", or "0, 7" of seeds that do not follow one another."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def check_label(label: str, known: Collection[str], *, where: str) -> None:
    """Raise `UsageError` for an unknown editor or an unknown suffix, with what is known."""
    name, seed = editor_name(label), seed_of(label)
    if name in known:
        if seed is not None and seed > MAX_SEED:
            raise UsageError(f"the seed of '{label}' is above {MAX_SEED}", where=where, fix=f"write '{name}{_SEED}1'")
        return
    base, plus, suffix = name.rpartition("+")
    base = base.partition("+")[0]
    if plus and base in known:
        if seed_of(name) is not None:
            end = MULTI_LABEL if MULTI_LABEL in label else ""
            what = f"'+{suffix}' is not at the end of '{label}'"
            raise UsageError(what, where=where, fix=f"write '{base}{end}+{suffix}': one seed, behind all else")
        forms = [base, base + MULTI_LABEL, f"{base}{_SEED}1", f"{base}{MULTI_LABEL}{_SEED}1"]
        again = is_multi_label(label)  # "memit+mel+mle": what stands before the suffix is wrong
        raise UsageError(
            f"unknown suffix '+{suffix}' of editor '{base}'",
            where=where,
            fix=f"write '{base}{MULTI_LABEL}', once" if again else did_you_mean(label, forms),
        )
    raise UsageError(f"unknown editor '{name}'", where=where, fix=did_you_mean(name, known))


def check_settings(label: str, known: Collection[str], *, where: str) -> None:
    """Raise `UsageError` for hyper-parameters of an unknown editor, or of a label with a suffix."""
    name = editor_name(label)
    if name != label and name in known:
        raise UsageError(
            f"'{label}' has no hyper-parameters of its own",
            where=where,
            fix=f"set those of '{name}': they apply to {'both' if seed_of(label) is None else 'all of its seeds'}",
        )
    if label not in known:
        raise UsageError(f"unknown editor '{label}'", where=where, fix=did_you_mean(label, known))


def check_are_used(run: RunConfig) -> None:
    """Raise `UsageError` where hyper-parameters were typed for an editor that is not run."""
    editors = {editor_name(label) for label in run.editors}
    if unused := sorted(run.overrides_asked - editors):
        if run.is_audit:
            raise UsageError(
                "an audit edits nothing: there are no hyper-parameters", where="--pitfalls-set", fix="leave it out"
            )
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
    """Labels of editors as typed.

    An editor given as ``package.module:attribute`` is called by its attribute, or by the name before it:
    ``NAME=package.module:attribute``.

    Returns:
        The labels, and the paths of those given by path: name -> ``package.module:attribute``.

    Raises:
        UsageError: a path that is none, or two of one attribute name.
    """
    labels: list[str] = []
    paths: dict[str, str] = {}
    for text in typed:
        typed_path = path = editor_name(text)
        if ":" not in path:
            labels.append(text)
            continue
        name = None
        if (named := _NAMED.fullmatch(path)) is not None:
            name, path = named["name"], named["path"]
        if not _PATH.fullmatch(path) and collection_of(path) is None:
            raise UsageError(
                f"'{path}' is not package.module:attribute",
                where=_WHERE,
                fix="for instance --editor=my_package.my_module:my_editor",
            )
        name = name or name_of(path)
        if paths.setdefault(name, path) != path:
            raise UsageError(
                f"{paths[name]} and {path} would both be called '{name}'",
                where=_WHERE,
                fix=f"name one of them: --editor=another-name={path}",
            )
        labels.append(name + text.removeprefix(typed_path))
    return tuple(dict.fromkeys(labels)), paths


def name_of(path: str) -> str:
    """What the editor at ``package.module:attribute`` is called where no other name is given."""
    if collection_of(path) is not None:
        return path.replace(":", "-")
    return path.partition(":")[2].rpartition(".")[2]


def with_collections(
    given: Mapping[str, Mapping[str, Any]], paths: Mapping[str, str], labels: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Hyper-parameters under a collection's name ("easyedit") as those of each of its editors that has no own value.

    Args:
        paths: of the editors given by path, by their name.
        labels: of all editors of the run: where one is called like a collection, the values are that editor's.
    """
    taken = {editor_name(label) for label in labels}
    found = {name: dict(values) for name, values in given.items()}
    members: dict[str, list[str]] = {}
    for label, path in paths.items():
        if (collection := collection_of(path)) is not None:
            members.setdefault(collection.name, []).append(label)
    for name, editors in members.items():
        if name not in taken and (values := found.pop(name, None)) is not None:
            found |= {editor: {**values, **found.get(editor, {})} for editor in editors}
    return found


def as_typed(label: str, run: RunConfig) -> str:
    """What was typed for ``label``."""
    name = editor_name(label)
    path = run.editor_paths.get(name)
    typed_name = name if path is None else path if name_of(path) == name else f"{name}={path}"
    return typed_name + label.removeprefix(name)


@lru_cache(maxsize=256)  # asked for every case of a run
def _parts(label: str) -> re.Match[str]:
    match = _LABEL.fullmatch(label)
    assert match is not None  # whatever is no suffix belongs to the name
    return match
