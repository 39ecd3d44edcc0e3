"""Part ``editing``: the reference and ours in batches of 1, of 4 and of the automatic size, on the same cases.

They are run in turns, so that other work on the machine slows all of them alike. Operations and memory come from
processes of their own, because counting slows down what it counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores

from . import machine, other_pitfalls, released
from .answers import differences
from .isolated import Counted, Order
from .isolated import measure as count_in_a_process
from .part import Asked, Measured
from .programs import reverse_programs
from .reference.runner import EDITORS
from .tables import number, percent, table
from .ways import AUTOMATIC, BATCHES, FOUR, REFERENCE, ROUNDED, SINGLE, WAYS, Ways, open_session


@dataclass(frozen=True)
class Amount:
    """How much is measured of one editor.

    Attributes:
        cases: cases that are timed.
        single: of these, cases that are timed at batch 1.
        four: of these, cases that are timed at batch 4.
        counted: of these, cases whose operations are counted.
        counted_ways: in these ways.
        others: suites besides, of other pitfalls.
    """

    cases: int
    single: int
    four: int
    counted: int
    counted_ways: Collection[str]
    others: Collection[str] = ()


# The reference and the automatic batch have the same cases: a longer case would count for one of them only.
FULL = {
    "rome": Amount(16, 4, 8, 2, (REFERENCE, SINGLE, AUTOMATIC), other_pitfalls.SUITES),
    "memit": Amount(8, 3, 4, 2, (REFERENCE, SINGLE, AUTOMATIC)),
}
# Two cases of ROME and one of MEMIT take about two minutes on two cores. A case of ROME takes 50 s to be counted; one
# of MEMIT would take as long again.
QUICK = {
    "rome": Amount(2, 1, 0, 1, (REFERENCE, AUTOMATIC)),
    "memit": Amount(1, 1, 0, 0, ()),
}


@dataclass
class Timed:
    """What one way took.

    Attributes:
        seconds: of each case where cases ran one by one; else of each batch, divided by its cases.
        cases: cases that ran.
        scoring: seconds of these spent on scoring, all cases together.
        editing: the same on editing.
        answers: the answers, in the programs' order.
    """

    seconds: list[float]
    cases: int
    scoring: float
    editing: float
    answers: list[CaseScores]


def measure(asked: Asked) -> Measured:
    """Measure ROME and MEMIT on reverse cases of the asked model.

    Raises:
        UsageError: the model cannot be used here.
    """
    amounts = QUICK if asked.quick else FULL
    rates = machine.matrix_rates(asked.device)
    session = open_session(asked.model, asked.device)
    rounded, without_it = (None, "") if asked.quick or asked.device != "cpu" else _rounded(asked)
    editors: dict[str, Any] = {}
    for editor in EDITORS:
        amount = amounts[editor]
        programs = reverse_programs(amount.cases)
        ways = Ways(session, editor, rounded)
        timed = in_turns(ways, programs, amount.single, amount.four)
        editors[editor] = {
            "cases": [program.case_id for program in programs],
            "batch": ways.batch(),
            "difference_of_log_p": {
                way: differences(timed[REFERENCE].answers, timed[way].answers) for way in (SINGLE, AUTOMATIC)
            },
            "ways": {way: _figures(each) for way, each in timed.items() if each.cases},
            "other_suites": other_pitfalls.measure(ways, amount.others),
        }
    del session, rounded, ways  # their memory is not wanted while others are counted
    for editor, way, counted in _count_all(asked, amounts):
        own = editors[editor]["ways"][way]
        own["counted_cases"] = counted.cases
        own["gflop_per_case"] = round(counted.operations / counted.cases / 1e9, 2)
        if counted.scoring is not None:
            own["scoring_gflop_per_case"] = round(counted.scoring / counted.cases / 1e9, 2)
        own["peak_mb"], own["loaded_mb"] = counted.peak_mb, counted.loaded_mb
        seconds = own["seconds_per_case"] if way == AUTOMATIC else statistics.fmean(own["seconds"][: counted.cases])
        own["gflop_per_second"] = round(own["gflop_per_case"] / seconds, 1)
        own["share_of_matrix_rate"] = round(own["gflop_per_second"] / rates["square_float32"], 3)
    figures: dict[str, Any] = {
        "suite": "reverse",
        "model": asked.model,
        "device": asked.device,
        "threads": torch.get_num_threads(),
        "matrix_gflop_per_second": rates,
        "editors": editors,
    }
    if without_it:
        figures["without_bf16_weights"] = without_it
    if asked.against is not None:
        figures["released_code"] = released.measure(asked, reverse_programs(1 if asked.quick else 4))
    return Measured(figures, render(figures), ratios(editors))


def _rounded(asked: Asked) -> tuple[EngineSession | None, str]:
    """A session whose matrices are kept in bfloat16; where there can be none, why."""
    try:
        return open_session(asked.model, asked.device, BF16_WEIGHTS), ""
    except UsageError as error:
        return None, str(error).splitlines()[0]


def in_turns(ways: Ways, programs: Sequence[Program], single: int, four: int = 0) -> dict[str, Timed]:
    """Time all ways: two of them case by case in turns, batches of four behind their cases, the others in the middle.

    Args:
        single: cases at batch 1.
        four: cases at batch 4.
    """
    timed = {way: Timed([], 0, 0.0, 0.0, []) for way in ways.known}

    def run(way: str, part: Sequence[Program]) -> None:
        started = time.perf_counter()
        answers = ways.run(way, part)
        own = timed[way]
        own.seconds.append((time.perf_counter() - started) / len(part))
        own.cases += len(part)
        own.answers += answers
        own.editing += sum(answer.timings["edit"] for answer in answers)
        own.scoring += sum(answer.timings["score"] for answer in answers)

    if ROUNDED in timed:
        ways.run(ROUNDED, programs[:1])  # what is done once a run
    for index, program in enumerate(programs):
        run(REFERENCE, [program])
        if index < single:
            run(SINGLE, [program])
        if (done := index + 1) % BATCHES[FOUR] == 0 and done <= four:
            run(FOUR, programs[done - BATCHES[FOUR] : done])
        if index == (len(programs) - 1) // 2:  # never first: what is done once a run is done by then
            for way in (AUTOMATIC, ROUNDED):
                if way in timed:
                    run(way, programs)
    return timed


def ratios(editors: dict[str, Any]) -> dict[str, float]:
    """The reference's cost over ours at the automatic batch size (or another), and scoring's share of ours."""
    found: dict[str, float] = {}
    for editor, own in editors.items():
        ways = own["ways"]
        reference, ours = ways[REFERENCE], ways[AUTOMATIC]
        if "gflop_per_case" in reference and "gflop_per_case" in ours:
            found[f"{editor}.flops"] = reference["gflop_per_case"] / ours["gflop_per_case"]
        found[f"{editor}.wall"] = reference["seconds_per_case"] / ours["seconds_per_case"]
        alone = ways[SINGLE]["seconds"]  # of the first cases, which the reference is compared on
        found[f"{editor}.wall_batch1"] = statistics.median(reference["seconds"][: len(alone)]) / statistics.median(
            alone
        )
        if FOUR in ways:  # means: a batch has the time of its cases together
            same_cases = reference["seconds"][: ways[FOUR]["timed_cases"]]
            found[f"{editor}.wall_batch4"] = statistics.fmean(same_cases) / statistics.fmean(ways[FOUR]["seconds"])
        if ROUNDED in ways:
            found[f"{editor}.wall_bf16_weights"] = reference["seconds_per_case"] / ways[ROUNDED]["seconds_per_case"]
        found[f"{editor}.scoring_share"] = ours["scoring_share"]
    return {name: round(value, 3) for name, value in found.items()}


def _figures(timed: Timed) -> dict[str, Any]:
    spent = timed.editing + timed.scoring
    return {
        "timed_cases": timed.cases,
        "seconds": [round(value, 3) for value in timed.seconds],
        "seconds_per_case": round(statistics.median(timed.seconds), 4),
        "editing_seconds_per_case": round(timed.editing / timed.cases, 4),
        "scoring_seconds_per_case": round(timed.scoring / timed.cases, 4),
        "scoring_share": round(timed.scoring / spent, 4),
    }


def _count_all(asked: Asked, amounts: dict[str, Amount]) -> list[tuple[str, str, Counted]]:
    """Operations and memory of every way of every editor: on a CPU two processes of one thread at a time."""
    wanted = [
        (editor, way, Order(way, editor, amount.counted, amount.cases, asked.model, asked.device))
        for editor, amount in amounts.items()
        for way in amount.counted_ways
    ]
    on_cpu = asked.device == "cpu"
    with ThreadPoolExecutor(2 if on_cpu else 1) as pool:
        counted = pool.map(lambda each: count_in_a_process(each[2], 1 if on_cpu else None), wanted)
        return [(editor, way, found) for (editor, way, _), found in zip(wanted, counted, strict=True)]


_HEADER = (
    "way",
    "s / case",
    "of it scoring",
    "GFLOP / case",
    "GFLOP/s",
    "of the matrix rate",
    "peak memory, MB",
    "of it above the loaded model, MB",
)


def render(figures: dict[str, Any]) -> str:
    """The section of these figures: Markdown from the heading (level 2) on."""
    rates = figures["matrix_gflop_per_second"]
    parts = [
        "## Editing and scoring",
        f"Model `{figures['model']}` on {figures['device']}, {figures['threads']} thread(s), {figures['suite']} cases. "
        f"This machine multiplies large float32 matrices at {rates['square_float32']:,.0f} GFLOP/s, and a "
        f"48 x 576 by 576 x 1536 product at {rates['embedded_float32']:,.0f}.",
    ]
    for editor, own in figures["editors"].items():
        parts += [f"### {editor}", table(_HEADER, [_row(way, each) for way, each in own["ways"].items()])]
        parts.append(_ratios_text(editor, figures["editors"]))
        apart = own["difference_of_log_p"]
        parts.append(
            f"{_amounts(own['ways'])}; automatic batch: {own['batch']['cases']} cases ({own['batch']['why']}). "
            f"Largest difference of log-probability from the reference: {apart[AUTOMATIC]['max']:.1e} "
            f"(median {apart[AUTOMATIC]['median']:.1e}) of {apart[AUTOMATIC]['values']} probabilities."
            + _least_scoring(own["ways"][AUTOMATIC], rates["square_float32"])
        )
        if own["other_suites"]:
            parts.append(other_pitfalls.render(own["other_suites"]))
    if "without_bf16_weights" in figures:
        parts.append(f"Without a row for `bf16-weights`: {figures['without_bf16_weights']}.")
    if "released_code" in figures:
        parts += ["### The released code itself", _released(figures["released_code"])]
    return "\n\n".join(parts) + "\n"


def _least_scoring(own: dict[str, Any], rate: float) -> str:
    """What scoring would take at the matrix rate (GFLOP/s): with as many operations its share cannot be smaller."""
    if "scoring_gflop_per_case" not in own:
        return ""
    seconds = own["scoring_gflop_per_case"] / rate
    share = seconds / (seconds + own["editing_seconds_per_case"])
    return (
        f" Scoring has {own['scoring_gflop_per_case']:,.0f} GFLOP a case: {seconds:.2f} s at the matrix rate, which "
        f"would be {percent(share)} of a case whose editing takes as long as here."
    )


def _amounts(ways: dict[str, Any]) -> str:
    """ "16 case(s) timed, 4 of them at batch 1; operations of the first 2"."""
    text = f"{ways[REFERENCE]['timed_cases']} case(s) timed, {ways[SINGLE]['timed_cases']} of them at batch 1"
    if FOUR in ways:
        text += f" and {ways[FOUR]['timed_cases']} at batch 4"
    counted = ways[REFERENCE].get("counted_cases")
    return text if counted is None else f"{text}; operations of the first {counted}"


def _row(way: str, own: dict[str, Any]) -> list[str]:
    above = own["peak_mb"] - own["loaded_mb"] if "peak_mb" in own else None
    return [
        WAYS[way],
        number(own["seconds_per_case"], ".2f"),
        percent(own["scoring_share"]),
        number(own.get("gflop_per_case"), ",.0f"),
        number(own.get("gflop_per_second"), ",.0f"),
        percent(own.get("share_of_matrix_rate")),
        number(own.get("peak_mb"), ",.0f"),
        number(above, ",.0f"),
    ]


def _ratios_text(editor: str, editors: dict[str, Any]) -> str:
    found = ratios(editors)
    text = f"The reference over ours at the automatic batch size: **{found[f'{editor}.wall']:.1f} x** the time"
    if f"{editor}.flops" in found:
        text += f", **{found[f'{editor}.flops']:.1f} x** the floating-point operations"
    more = {"at batch 1": "wall_batch1", "at batch 4": "wall_batch4", "in `bf16-weights`": "wall_bf16_weights"}
    known = {words: f"{editor}.{name}" for words, name in more.items() if f"{editor}.{name}" in found}
    times = [f"{words} {found[name]:.1f} x" for words, name in known.items()]
    return f"{text}. The time {', '.join(times)}."


def _released(own: dict[str, Any]) -> str:
    if "error" in own:
        return f"Not timed: {own['error']}."
    return (
        f"ROME of the checkout given with `--against` on {own['cases']} case(s): {own['seconds_per_case']:.2f} s per "
        f"case (editing {own['editing_seconds_per_case']:.2f}, scoring {own['scoring_seconds_per_case']:.2f}); the "
        f"reference on the same case(s), in turns: {own['reference_seconds_per_case']:.2f} s. Largest difference of "
        f"log-probability between the two: {own['difference_of_log_p']['max']:.1e}."
    )
