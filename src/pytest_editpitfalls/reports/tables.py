"""What the summary says, as plain data: rows of the papers' columns, worst cases, notes, times. No drawing here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import AggregateRecord, CaseRecord, MetricAggregate, RunResults

SANITY_COLUMNS = {"es": "ES", "ps": "PS"}
CONFLICT_COLUMNS = {
    **SANITY_COLUMNS,
    "cs_exp": "CS exp",
    "cs_imp": "CS imp",
    "cm": "CM",
    "tfd_released": "TFD",
    "succ": "Succ",
}
DISTORTION_COLUMNS = {**SANITY_COLUMNS, "succ": "Succ", "distortion_released": "D", "ir": "IR", "fr": "FR"}
"""Metric -> title: whether edit 1 takes, then the papers' columns, in the released definitions, so that they can be
compared."""

MARK = "!"
"""Stands beside figures of an editor that hardly edits."""

WORST = 5
NOTES = 5


@dataclass(frozen=True)
class Row:
    """One line of a table: a suite with an editor on a model, or published figures beside it.

    Attributes:
        suite, editor, model: what the line is about.
        n: cases that were scored.
        held: "38/40" where the base model was asked for its facts, else "".
        cells: metric -> aggregate; a metric that is absent does not exist for the suite.
        published: whether these are published figures (no intervals).
        reliable: whether the editor edits often enough; None where that is unknown.
    """

    suite: str
    editor: str
    model: str
    n: int
    held: str
    cells: Mapping[str, MetricAggregate]
    published: bool = False
    reliable: bool | None = None


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as per cent, "-" where it is unknown."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def interval(cell: MetricAggregate, digits: int = 1) -> str:
    """Return the confidence interval in per cent, "" where there is none."""
    if cell.low is None or cell.high is None:
        return ""
    return f"[{percent(cell.low, digits)}, {percent(cell.high, digits)}]"


def rows(results: RunResults, kinds: Mapping[str, str], formats: Mapping[str, str]) -> list[Row]:
    """Return the lines of both tables in order, published figures behind the lines that they belong to.

    Args:
        results: the run.
        kinds: suite -> kind.
        formats: suite -> "own" or "published".
    """
    lines: list[Row] = []
    for aggregate in results.aggregates:
        cases = [
            case
            for case in results.cases
            if (case.suite, case.editor, case.model) == (aggregate.suite, aggregate.editor, aggregate.model)
        ]
        asked = [case for case in cases if case.held is not None]
        held = f"{sum(case.held is True for case in asked)}/{len(asked)}" if asked else ""
        lines.append(
            Row(
                aggregate.suite,
                aggregate.editor,
                aggregate.model,
                aggregate.n,
                held,
                dict(aggregate.metrics),
                reliable=aggregate.reliable,
            )
        )
        if (row := _published(aggregate, kinds, formats)) is not None:
            lines.append(row)
    return lines


def both_tables(
    lines: Sequence[Row], kinds: Mapping[str, str]
) -> list[tuple[str, list[Row], dict[str, str]]]:
    """Return the two tables that have lines: title, lines, and the columns that they fill (metric -> title)."""
    parts = (
        ("Knowledge conflict", CONFLICT_COLUMNS, [row for row in lines if kinds[row.suite] != "round"]),
        ("Knowledge distortion", DISTORTION_COLUMNS, [row for row in lines if kinds[row.suite] == "round"]),
    )
    return [
        (
            title,
            part,
            {name: text for name, text in columns.items() if any(name in row.cells for row in part)},
        )
        for title, columns, part in parts
        if part
    ]


def unreliable(lines: Iterable[Row], kinds: Mapping[str, str], floor: float) -> list[str]:
    """Return one line per editor, model and kind of figures whose mean edit success is under ``floor``."""
    from pytest_editpitfalls.pitfalls import pitfall_of
    from pytest_editpitfalls.verdicts.reliability import unreliable_reason

    shares: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in lines:
        success = row.cells["es"].value if row.reliable is False else None
        if success is not None:
            shares.setdefault((row.editor, row.model, pitfall_of(kinds[row.suite]).topic.name), {})[
                row.suite
            ] = success
    return [
        visible(f"{MARK} {unreliable_reason(editor, model, suites, floor, figures=figures)}")
        for (editor, model, figures), suites in shares.items()
    ]


def papers_suite(suite: str, kind: str) -> str:
    """Return which of the papers' five suites (reverse, composite, coverage, easy, hard) a suite stands for."""
    if kind != "round":
        return kind
    return "hard" if "hard" in suite.lower() else "easy"


def _published(
    aggregate: AggregateRecord, kinds: Mapping[str, str], formats: Mapping[str, str]
) -> Row | None:
    from pytest_editpitfalls.pitfalls import pitfall_of
    from pytest_editpitfalls.results.records import MetricAggregate

    if formats.get(aggregate.suite) != "published":
        return None
    pitfall = pitfall_of(kinds[aggregate.suite])
    figures = pitfall.published_row(aggregate.suite, aggregate.editor, [aggregate.model])
    if figures is None:
        return None
    cells = {
        name: MetricAggregate(value=value, low=None, high=None, n=figures.n)
        for name, value in figures.metrics.items()
    }
    return Row(aggregate.suite, figures.editor, figures.model, figures.n, "", cells, published=True)


def worst_cases(cases: Iterable[CaseRecord], limit: int = WORST) -> list[tuple[str, list[str]]]:
    """Return the failing cases that missed their thresholds by most, each as a headline and lines below it."""
    failing = [case for case in cases if case.outcome in {"failed", "xfailed"}]
    failing.sort(key=_missed, reverse=True)
    return told(failing[:limit])


def told(cases: Iterable[CaseRecord], *, is_failing: bool = True) -> list[tuple[str, list[str]]]:
    """Return each case as a headline, with what fell where cases are failing ones, and lines below it."""
    return [(_headline(case) if is_failing else _named(case), story(case)) for case in cases]


def _missed(case: CaseRecord) -> tuple[int, float]:
    fallen = [threshold for threshold in case.thresholds if threshold.passed is False]
    return len(fallen), sum(threshold.missed_by or 0.0 for threshold in fallen)


def _headline(case: CaseRecord) -> str:
    fallen = ", ".join(
        f"{each.metric} {each.value:.3g} (wanted {each.threshold.removeprefix(each.metric).strip()})"
        for each in case.thresholds
        if each.passed is False and each.value is not None
    )
    return f"{_named(case)}: {visible(fallen or case.reason or case.outcome)}"


def _named(case: CaseRecord) -> str:
    return visible(f"{case.suite} {case.id} ({case.editor} on {case.model})")


def story(case: CaseRecord) -> list[str]:
    """Return a case in words: its edits, the facts' mean probabilities before and after, whether edit 1 took."""
    means: dict[str, dict[str, float]] = {}
    for probe in case.probes:
        if probe.fact == "replaced":  # its one probability says nothing but whether edit 1 took, see below
            continue
        known = [value for value in probe.probabilities if value is not None]
        if known:
            means.setdefault(probe.fact, {})[probe.state] = sum(known) / len(known)
    parts = []
    for fact, states in means.items():
        order = [state for state in ("0", "1", "12", "2") if state in states]
        if len(order) > 1 and order[-1] == "2":
            order.remove("2")
        parts.append(f"{fact} {' -> '.join(f'{states[state]:.3g}' for state in _ends(order))}")
    lines = [visible(line) for line in case.edits]
    if parts:
        lines.append("p: " + visible(", ".join(parts)))
    if case.metrics.get("es") == 0.0:
        lines.append("edit 1 did not take")
    return lines


def _ends(order: Sequence[str]) -> Sequence[str]:
    return order if len(order) < 3 else (order[0], order[-1])


def notes(cases: Iterable[CaseRecord], limit: int = NOTES) -> list[str]:
    """Return the editors' remarks, equal kinds counted together ("tiny divisor at edit 2: ..." in 3 cases)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for case in cases:
        for note in case.notes:
            found.setdefault(note.partition(":")[0], []).append((case.id, note))
    lines = []
    for kind, members in sorted(found.items(), key=lambda pair: -len(pair[1]))[:limit]:
        case_id, note = members[0]
        if len(members) == 1:
            lines.append(visible(f"{case_id}: {note}"))
        else:
            lines.append(visible(f"{kind}: {len(members)} cases, the first {case_id}: {note}"))
    if len(found) > limit:
        lines.append(f"and {len(found) - limit} more kinds of note, see --pitfalls-json")
    return lines


def times(timings: Mapping[str, float], wall: float | None, summed: bool) -> str:
    """Return where the time went, longest first.

    Args:
        timings: stage -> seconds.
        wall: wall time of the run.
        summed: whether the stages are summed over several processes, so that there is no rest to name.
    """
    parts = [f"{stage} {seconds:.1f} s" for stage, seconds in sorted(timings.items(), key=lambda p: -p[1])]
    if wall is None:
        return ", ".join(parts)
    rest = wall - sum(timings.values())
    if not summed and rest >= 0.05:
        parts.append(f"pytest and the rest {rest:.1f} s")
    text = f"{wall:.1f} s: {', '.join(parts)}" if parts else f"{wall:.1f} s"
    return f"{text} (stages summed over workers)" if summed and parts else text


def first_result(stages: Mapping[str, float | None]) -> str:
    """Return how long the first result took and where that time went, in the order in which it was spent.

    Args:
        stages: stage -> seconds, and "total"; "" is returned where that is not known.
    """
    total = stages.get("total")
    if total is None:
        return ""
    spent = {stage: seconds for stage, seconds in stages.items() if stage != "total" and seconds is not None}
    parts = [f"{stage} {seconds:.1f} s" for stage, seconds in spent.items()]
    rest = total - sum(spent.values())
    if parts and rest >= 0.05:
        parts.append(f"pytest and the rest {rest:.1f} s")
    return f"first result after {total:.1f} s{': ' if parts else ''}{', '.join(parts)}"
