"""The paper's two tables from stored runs: knowledge conflict and knowledge distortion, for booktabs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import METRICS
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import AggregateRecord

from .tables import papers_suite, percent

WHERE = "editpitfalls table --latex"

TABLES = {
    "Knowledge conflict": ("coverage", "reverse", "composite"),
    "Knowledge distortion": ("easy", "hard"),
}
"""Caption -> suites, in the papers' order."""

_HEADINGS = {
    "succ": "Succ",
    "cs_exp": r"CS\textsubscript{exp}",
    "cs_imp": r"CS\textsubscript{imp}",
    "cm": "CM",
    "tfd_released": "TFD",
    "distortion_released": "D",
    "ir": "IR",
    "fr": "FR",
}

_SPELLED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
}

_MARK = r"$^{\dagger}$"

COLUMNS = {
    "coverage": ("succ", "cs_exp", "cm"),
    "reverse": ("cs_exp", "cs_imp", "cm"),
    "composite": ("cs_exp", "cs_imp", "cm", "tfd_released"),
    "easy": ("succ", "distortion_released", "ir", "fr"),
    "hard": ("succ", "distortion_released", "ir", "fr"),
}

Column = tuple[str, str]
"""Suite of the papers, metric."""


@dataclass
class _Line:
    """One line of a table: an editor on a model."""

    model: str
    name: str
    reliable: bool = True
    values: dict[Column, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def escaped(text: object) -> str:
    """Return data as LaTeX text that shows it as it is."""
    spelled = "".join(_SPELLED.get(char, char) for char in visible(text))
    return spelled.replace("--", "-{}-").replace("--", "-{}-")  # no dash


def latex_tables(runs: Sequence[NamedRun]) -> str:
    """Return both tables, those that have figures.

    Means in per cent, in the released definitions, grouped by model; the best of a model's editors is bold, by what is
    printed (equal figures are all bold). Editors that hardly edit are marked and never the best.

    Args:
        runs: an editor that several runs have on the same suite and model gets a line for each.

    Raises:
        UsageError: no run has scored cases.
    """
    parts = [
        _table(title, suites, lines)
        for title, suites in TABLES.items()
        if (lines := [line for line in _lines(runs) if any(suite in line.counts for suite in suites)])
    ]
    if not parts:
        raise UsageError("no run has scored cases", where=WHERE, fix="name a run that has some")
    head = "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}, \\usepackage{textcomp}\n"
    return head + "\n".join(parts)


def _lines(runs: Sequence[NamedRun]) -> list[_Line]:
    lines: dict[tuple[str, str], _Line] = {}
    for run in runs:
        kinds = {suite.name: suite.kind for suite in run.results.run.suites}
        for aggregate in run.results.aggregates:
            suite = papers_suite(aggregate.suite, kinds[aggregate.suite])
            name = aggregate.editor
            known = lines.get((aggregate.model, name))
            if known is not None and suite in known.counts:
                name = f"{name} ({run.name}, {aggregate.suite})"
            line = lines.setdefault((aggregate.model, name), _Line(aggregate.model, name))
            _fill(line, suite, aggregate)
    models = list(dict.fromkeys(line.model for line in lines.values()))
    return sorted(lines.values(), key=lambda line: models.index(line.model))


def _fill(line: _Line, suite: str, aggregate: AggregateRecord) -> None:
    if not aggregate.n:
        return
    line.counts[suite] = aggregate.n
    line.reliable = line.reliable and aggregate.reliable is not False
    for metric in COLUMNS[suite]:
        cell = aggregate.metrics.get(metric)
        if cell is not None and cell.value is not None:
            line.values[suite, metric] = cell.value


def _table(title: str, suites: Sequence[str], lines: Sequence[_Line]) -> str:
    present = [suite for suite in suites if any(suite in line.counts for line in lines)]
    columns: list[Column] = [(suite, metric) for suite in present for metric in COLUMNS[suite]]
    text = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{title} (\%). {_caption(lines, present)}}}",
        rf"\begin{{tabular}}{{l{''.join('r' for _ in columns)}}}",
        r"\toprule",
        *_headings(present),
        r"\midrule",
        *_body(lines, columns),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(text) + "\n"


def _caption(lines: Sequence[_Line], suites: Sequence[str]) -> str:
    parts = []
    for suite in suites:
        counts = sorted({line.counts[suite] for line in lines if suite in line.counts})
        cases = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"{suite} {cases}")
    text = f"Cases: {', '.join(parts)}. Arrows say which way is better."
    if not all(line.reliable for line in lines):
        text += f" {_MARK} hardly edits: its figures say little."
    return text


def _headings(suites: Sequence[str]) -> list[str]:
    over, rules, names, start = [""], [], ["Editor"], 2
    for suite in suites:
        metrics = COLUMNS[suite]
        over.append(rf"\multicolumn{{{len(metrics)}}}{{c}}{{{suite.capitalize()}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(metrics) - 1}}}")
        start += len(metrics)
        names += [
            f"{_HEADINGS[metric]} ${chr(92)}{'uparrow' if METRICS.get(metric).higher_is_better else 'downarrow'}$"
            for metric in metrics
        ]
    return [_row(over), " ".join(rules), _row(names)]


def _body(lines: Sequence[_Line], columns: Sequence[Column]) -> Iterator[str]:
    for place, (model, group) in enumerate(_by_model(lines).items()):
        if place:
            yield r"\midrule"
        yield rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{escaped(model)}}}}} \\"
        best = {column: _best(group, column) for column in columns}
        for line in group:
            cells = [escaped(line.name) + ("" if line.reliable else _MARK)]
            for column in columns:
                text = _figure(line.values.get(column))
                cells.append(rf"\textbf{{{text}}}" if line.reliable and text == best[column] else text)
            yield _row(cells)


def _best(group: Sequence[_Line], column: Column) -> str | None:
    """Return the best figure as it is printed; None where there is nothing to choose from."""
    values = [line.values[column] for line in group if line.reliable and column in line.values]
    if len(values) < 2:
        return None
    return _figure(max(values) if METRICS.get(column[1]).higher_is_better else min(values))


def _figure(value: float | None) -> str:
    return "--" if value is None else percent(value, 2)


def _by_model(lines: Sequence[_Line]) -> Mapping[str, list[_Line]]:
    groups: dict[str, list[_Line]] = {}
    for line in lines:
        groups.setdefault(line.model, []).append(line)
    return groups


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
