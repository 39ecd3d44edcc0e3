"""``editpitfalls compare``: runs beside a first one, outside of pytest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.text import Text

from pytest_editpitfalls.errors import UsageError, check_choice
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.config import Inconclusive
from pytest_editpitfalls.options.editor_labels import without_seed
from pytest_editpitfalls.reports.terminal import baseline_lines, gate_lines
from pytest_editpitfalls.reports.view.kinds import figure, figure_change
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.tables import Group
from pytest_editpitfalls.results.comparison_records import RelativeGateRecord
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import GateRecord, RunResults
from pytest_editpitfalls.suites.discovery import shipped_suites

from .runs import DEFAULT_STORE, RUN_HELP, StoreOption, SuiteOption, open_runs
from .show import metric_table, print_json, shared_out, show

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pytest_editpitfalls.comparison.differences import Difference
    from pytest_editpitfalls.comparison.pairing import Comparison

FAILED = 1
"""Exit status where a gate failed or could not be evaluated."""

WHERE = "--fail-on"


@dataclass(frozen=True)
class Compared:
    """A run beside the first one, with its gates and comparison.

    Attributes:
        renamed: what its editor was called, where it was compared as if it were the first run's; otherwise None.
        failing: gates that fail it.
    """

    name: str
    results: RunResults
    differences: list[Difference]
    renamed: str | None
    failing: list[GateRecord | RelativeGateRecord]

    @property
    def passed(self) -> bool:
        """Whether a run of pytest with the first run as its baseline would pass."""
        return not self.failing and not self.results.reasons


def compare(
    base: Annotated[str, typer.Argument(metavar="A", help=RUN_HELP, show_default=False)],
    others: Annotated[list[str], typer.Argument(metavar="B...", help="Runs that are compared with A.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            WHERE,
            metavar="GATE",
            help="Exit with 1 where B fails it: 'reverse.cs_exp:2pp', 'easy.ir:5%', '*.succ:0' or "
            "'reverse.cs_exp >= 0.6'; may be repeated.",
        ),
    ] = None,
    inconclusive: Annotated[
        str | None,
        typer.Option(metavar="cases|excess|pass|fail", help="What an inconclusive gate means (default: cases)."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="The same as --inconclusive=fail.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    store: StoreOption = DEFAULT_STORE,
    suite: SuiteOption = None,
) -> None:
    """Compare runs case by case with a first one: metrics, flipped cases, gates.

    Exit status 1 where a run of pytest fails that has A as its baseline and the same gates. Another editor than A's is
    judged in the suites that a gate names.
    """
    meaning = _inconclusive(inconclusive, strict)
    first, *rest = open_runs([base, *others], store, suite or ())
    compared = [compare_runs(first, other, fail_on or (), inconclusive=meaning) for other in rest]
    if as_json:
        print_json(_as_json(first, compared))
    else:
        show(_body(first, compared))
    if not all(each.passed for each in compared):
        raise typer.Exit(FAILED)


def _inconclusive(text: str | None, strict: bool) -> Inconclusive:
    if text is not None:
        check_choice(text, get_args(Inconclusive), what="value", where="--inconclusive")
    if strict and text not in (None, "fail"):
        raise UsageError(
            f"an inconclusive gate fails with --strict and does not with --inconclusive={text}",
            where="--inconclusive --strict",
            fix="leave one of them out",
        )
    return "fail" if strict else cast(Inconclusive, text or "cases")


def compare_runs(
    first: NamedRun, other: NamedRun, gates: Sequence[str] = (), *, inconclusive: Inconclusive = "cases"
) -> Compared:
    """Return a run beside the first one.

    Two runs of one editor each, under different names, are compared editor against editor.

    Raises:
        UsageError: a wrong gate, or runs that cannot be compared: other metric definitions, cases or weights.
    """
    from pytest_editpitfalls.comparison.differences import differences
    from pytest_editpitfalls.comparison.relative_gates import evaluate_relative_gates, is_relative, parse_relative_gate
    from pytest_editpitfalls.comparison.run_verdict import failing_gates, gates_judge, reasons_of
    from pytest_editpitfalls.results.gates import evaluate_gates
    from pytest_editpitfalls.verdicts.thresholds import parse_gate

    results, renamed = _as_editor_of(first.results, other.results)
    kinds = {suite.name: suite.kind for suite in results.run.suites}
    known = {**shipped_suites(), **kinds}
    absolute = [parse_gate(text, known, where=WHERE) for text in gates if not is_relative(text)]
    relative = [parse_relative_gate(text, known, where=WHERE) for text in gates if is_relative(text)]
    comparison = paired(first, NamedRun(other.name, results))
    part = None if results.run.shard is None else f"shard {results.run.shard} has a part of the cases"
    part_of = _part_of(results)
    results = results.model_copy(
        update={
            "comparison": comparison.record(),
            "gates": evaluate_gates(
                absolute, results.aggregates, part_of=lambda found: part_of(found.suite, found.editor, found.model)
            ),
            "relative_gates": evaluate_relative_gates(
                relative,
                comparison,
                kinds,
                seed=results.run.seed,
                strict=inconclusive == "fail",
                part=part,
                aggregates=results.aggregates,
            ),
        }
    )

    def is_gated(suite: str) -> bool:
        return gates_judge(suite, kinds[suite], absolute, relative)

    results.reasons = reasons_of(
        results,
        comparison,
        is_gated=is_gated,
        inconclusive=inconclusive,
        # another editor fails elsewhere: that is judged where somebody asks for it
        is_judged=is_gated if renamed is not None else lambda _: True,
    )
    asked = {str(gate) for gate in (*absolute, *relative)}
    # nobody judges the other shards of a stored run later
    failing = failing_gates(results, asked=asked, part_of=part_of, is_shard=False)
    return Compared(other.name, results, differences(comparison, kinds, seed=results.run.seed), renamed, failing)


def paired(first: NamedRun, other: NamedRun) -> Comparison:
    """Return the cases of both, paired; raises as `compare_runs`."""
    from pytest_editpitfalls.comparison.baseline import Baseline
    from pytest_editpitfalls.comparison.pairing import compare as pair_up

    try:
        return pair_up(Baseline.of(first.results), other.results, name=first.name)
    except UsageError as error:
        where = f"{other.name} beside {first.name}"
        raise UsageError(error.what, where=where, fix="compare runs of the same protocol") from None


def _as_editor_of(first: RunResults, other: RunResults) -> tuple[RunResults, str | None]:
    """Return the other run under the editor's name of the first, where each has one editor and these differ."""
    there, here = ({without_seed(case.editor) for case in run.cases} for run in (first, other))
    if len(there) != 1 or len(here) != 1 or there == here:
        return other, None
    (name,), (own,) = there, here
    renamed = {
        "cases": [each.model_copy(update={"editor": name + each.editor.removeprefix(own)}) for each in other.cases],
        **{
            field: [each.model_copy(update={"editor": name + each.editor.removeprefix(own)}) for each in records]
            for field, records in (("aggregates", other.aggregates), ("by_seed", other.by_seed))
        },
        # other editors have other hyper-parameters: no difference worth a line
        "run": other.run.model_copy(update={"editors": []}),
    }
    return other.model_copy(update=renamed), own


def _part_of(results: RunResults) -> Callable[[str, str, str], str | None]:
    """As in a run: a gate on a bound judges all cases of a suite."""
    totals = {suite.name: suite.total for suite in results.run.suites}
    counts: dict[Group, Counter[str]] = {}
    for case in results.cases:
        counts.setdefault(results.figures_of(case), Counter())[case.editor] += 1

    def part(suite: str, editor: str, model: str) -> str | None:
        of_seeds = counts.get((suite, editor, model), Counter[str]())
        ran, total = min(of_seeds.values(), default=0), totals[suite]  # the seed that has the fewest decides
        return None if ran >= total else f"{ran} of {total} cases of '{suite}' ran: a gate judges all of them"

    return part


def _as_json(first: NamedRun, compared: Sequence[Compared]) -> dict[str, Any]:
    return {
        "base": first.name,
        "passed": all(each.passed for each in compared),
        "runs": [
            {
                "name": each.name,
                "passed": each.passed,
                "compared_as_editor_of_base": each.renamed,
                "differences": [asdict(difference) for difference in each.differences],
                **each.results.model_dump(mode="json", include={"comparison", "gates", "relative_gates", "reasons"}),
            }
            for each in compared
        ],
    }


def _body(first: NamedRun, compared: Sequence[Compared]) -> Iterator[RenderableType]:
    yield from _tables(first, compared)
    for each in compared:
        yield Text(visible(f"{each.name}:"), "bold")
        if each.renamed is not None:
            yield Text(visible(f"  its editor {each.renamed} is compared with the editor of {first.name}"))
        view = RunView(each.results)
        yield from baseline_lines(view)
        yield from gate_lines(view)


def _tables(first: NamedRun, compared: Sequence[Compared]) -> Iterator[Table]:
    """One table for each suite, editor and model: a line for each metric, columns for the runs and their changes."""
    groups: dict[Group, list[dict[str, Difference]]] = {}
    for place, each in enumerate(compared):
        for difference in each.differences:
            key = (difference.suite, difference.editor, difference.model)
            groups.setdefault(key, [{} for _ in compared])[place][difference.metric] = difference
    view = RunView(first.results)
    for group, found in groups.items():
        columns = view.columns_of(group[0])
        pairs = list(zip(compared, found, strict=True))
        yield from shared_out(pairs, partial(_table, group, columns, first, known=_first_of(found)))


def _first_of(found: Sequence[Mapping[str, Difference]]) -> Mapping[str, Difference]:
    """Metric -> what one of the runs says of it: the first run's value stands in each."""
    return {name: difference for part in reversed(found) for name, difference in part.items()}


def _table(
    group: Group,
    columns: Mapping[str, str],
    first: NamedRun,
    compared: Sequence[tuple[Compared, Mapping[str, Difference]]],
    *,
    known: Mapping[str, Difference],
) -> Table:
    suite, editor, model = group
    table = metric_table(f"{suite}, {editor} on {model} (%)")
    table.add_column(Text(visible(first.name)), justify="right", overflow="fold")
    for each, _ in compared:
        table.add_column(Text(visible(each.name)), justify="right", overflow="fold")
        table.add_column("change [90 %]", justify="right")
        table.add_column("cases", justify="right")
    for name, title in columns.items():
        if name not in known:
            continue
        cells: list[str | Text] = [title, figure(name, known[name].base)]
        for _, part in compared:
            cells += _cells(part[name]) if name in part else ["", "", ""]
        table.add_row(*cells)
    return table


def _cells(difference: Difference) -> list[str | Text]:
    name = difference.metric
    change, low, high = (figure_change(name, each) for each in (difference.change, difference.low, difference.high))
    if not difference.lost and not difference.won:
        return [figure(name, difference.now), "", f"the same of {difference.n}"]
    worse, better = ("worse", "better") if difference.has_direction else ("higher", "lower")
    words, style = {True: (" better", "green"), False: (" worse", "red"), None: ("", "")}[difference.better]
    return [
        figure(name, difference.now),
        Text(f"{change} [{low}, {high}]{words}", style),
        f"{difference.lost} {worse}, {difference.won} {better} of {difference.n}",
    ]
