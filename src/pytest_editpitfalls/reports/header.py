"""The lines above the test session: what is edited, in which model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.files import plain_name
from pytest_editpitfalls.options.editor_labels import (
    editor_name,
    is_multi_label,
    runs_once,
    seed_of,
    seeds_in_words,
    without_seed,
)

if TYPE_CHECKING:
    from pytest_editpitfalls.options.config import RunConfig
    from pytest_editpitfalls.suites.suite import Suite

_TARGETS = {
    "averaged": "averages the losses of the true objects",
    "one after another": "writes the true objects one after another, in file order; the last one wins",
}
"""What an editor does with several targets of one fact, where it does not solve for them together."""


def header(run: RunConfig, selected: Sequence[Suite], per_test: float | None = None) -> list[str]:
    """Return the lines for pytest's header; ``per_test``: seconds that another plugin gives each test."""
    suites = ", ".join(suite.name for suite in selected)
    editors = dict.fromkeys(map(without_seed, run.editors)) if _by_seed(run) else run.editors
    what = f"{', '.join(editors)} on {', '.join(run.models)}"
    if run.is_audit:
        what = f"audit of {', '.join(run.checkpoints.values())} against {', '.join(run.models)}"
    text = f"pitfalls: {what}, device {run.device}"
    if suites:
        text += f", suites {suites}"
    if run.limit is not None:
        text += f", at most {run.limit} cases each"
    if run.shard is not None:
        text += f", shard {run.shard}"
    store = "replayed from" if run.replay else "all computed anew, kept in" if run.fresh else "kept in"
    return [
        visible(text),
        visible(f"pitfalls: results {store} {_short(run.store_path)}"),
        *([] if per_test is None else [_limits(per_test, run.timeout)]),
        *(visible(f"pitfalls: {line}") for line in seed_lines(run, selected)),
        *(visible(f"pitfalls: {line}") for line in multi_label_lines(run.editors, selected)),
        *(visible(f"pitfalls: {line}") for line in _same_names(run, selected)),
        *(visible(f"pitfalls: {line}") for line in dict.fromkeys(line for suite in selected for line in suite.notes)),
        *(
            f"pitfalls: {short} belongs to another plugin or conftest here; use --pitfalls-{short[2:]}"
            for short in run.short_forms_taken
            if (short in ("--edited", "--base")) == run.is_audit
        ),
    ]


def seed_lines(run: RunConfig, selected: Sequence[Suite]) -> list[str]:
    """Return what several seeds cost: how many items come of them, and which editors run once all the same."""
    by_seed = _by_seed(run)
    lines = [
        f"{', '.join(labels)} under {len(seeds)} seeds ({seeds_in_words(seeds)}): every case runs {len(seeds)} times"
        for seeds, labels in _alike(by_seed)
    ]
    if lines and selected:
        limit = run.limit or max(len(suite.cases) for suite in selected)
        cases = sum(min(limit, len(suite.cases)) for suite in selected) * len(run.models)
        lines[-1] += f"; {cases * len(run.editors)} items of {cases} cases" + " in all" * (len(lines) > 1)
    once = runs_once(run)
    if once:
        verb = "draws nothing at random, so that it runs" if len(once) == 1 else "draw nothing at random and run"
        lines.append(f"{', '.join(once)} {verb} once: every seed gives the same")
    return lines


def _by_seed(run: RunConfig) -> dict[str, list[int]]:
    """Return the seeds of each editor that has several: label without a seed -> seeds."""
    seeds: dict[str, list[int]] = {}
    for label in run.editors:
        if (seed := seed_of(label)) is not None:
            seeds.setdefault(without_seed(label), []).append(seed)
    return {label: sorted(each) for label, each in seeds.items() if len(each) > 1}


def _alike(by_seed: Mapping[str, list[int]]) -> list[tuple[list[int], list[str]]]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, seeds in by_seed.items():
        groups.setdefault(tuple(seeds), []).append(label)
    return [(list(seeds), labels) for seeds, labels in groups.items()]


def _limits(per_test: float, per_batch: float | None) -> str:
    limit = "have no limit (--pitfalls-timeout sets one)" if per_batch is None else f"may take {per_batch:g} s each"
    return f"pitfalls: the {per_test:g} s of pytest-timeout do not count batches of cases, which {limit}"


def _same_names(run: RunConfig, selected: Sequence[Suite]) -> Iterator[str]:
    """Say which suite is which, where two have one name."""
    from pytest_editpitfalls.suites.discovery import is_suite, suite_names

    sources = {suite.name: suite.source for suite in selected}
    for suite in selected:
        _, _, short = suite.name.partition(f"{plain_name(suite.source.parent.name)}-")
        if short in sources:
            yield f"'{suite.name}' is {_short(suite.source)}, '{short}' is {_short(sources[short])}"
    for name in run.suites if run.suites_asked else ():
        beside = sorted(Path.cwd().glob(f"{name}.*")) if name in suite_names() else []
        for own in filter(is_suite, beside):
            yield f"'{name}' is the one that ships; the file here is --pitfalls-suite=./{own.name}"


def _short(path: Path) -> str:
    """The path as it is reached from here, where that is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def multi_label_lines(editors: Sequence[str], selected: Sequence[Suite]) -> list[str]:
    """Return what there is to know about Multi-Label Edit where it is asked for, one remark per line."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
    from pytest_editpitfalls.pitfalls import PITFALLS, pitfall_of

    labels = [label for label in editors if is_multi_label(label)]
    if not labels:
        return []
    lines = [
        f"{label}: {editor_name(label)} {words}"
        for label in labels
        if (words := _TARGETS.get(EDITORS.get(editor_name(label)).targets)) is not None
    ]
    others = [suite.name for suite in selected if not pitfall_of(suite.kind).multi_label]
    if others or not selected:  # a test module may name any suite
        changed = " and ".join(pitfall.name for pitfall in PITFALLS if pitfall.multi_label)
        where = ", ".join(others) or "other suites"
        lines.append(f"Multi-Label Edit (+mle) changes {changed} edits only; {where}: as without it")
    return lines
