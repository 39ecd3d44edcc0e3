"""One batch of programs through its states: edits step by step, then all probes. A broken case harms no other.

`batch_size.automatic` decides how many programs a batch has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_editpitfalls.errors import (
    CaseError,
    UntrustedEditor,
    UsageError,
    did_you_mean,
)
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import (
    NOTHING_CHANGED,
    CaseScores,
    ProbeScore,
    Program,
    SuitePrograms,
)

from .editing.interface import EditJob, Editor, EditResult, KeepsState, WritesModel
from .held import HeldAnswers
from .isolation import isolated
from .overlay import EditedModel, not_finite
from .probing import Probing, unscorable
from .scoring import Scorer
from .settings import Progress, ProgressCallback, as_part, silent
from .shared_edits import SharedEdits
from .tokens import Encoder

_NOT_FINITE: dict[Measure, str] = {
    "probability": "probabilities are",
    "said": "next tokens cannot be told: its logits are",
    "perplexity": "perplexities are",
    "divergence": "distance from the base model is",
}

Steps = tuple[int, ...]
_JobKey = tuple[str | int, Steps]


@dataclass
class _Run:
    """The state of a program: edited models by the steps that made them, the answers, and what went wrong."""

    program: Program
    models: dict[Steps, EditedModel] = field(default_factory=lambda: {(): ()})
    states: dict[Steps, Any] = field(default_factory=dict)  # the editor's own
    notes: list[str] = field(default_factory=list)
    probes: tuple[ProbeScore, ...] = ()
    held_parts: dict[str, bool | None] = field(default_factory=dict)
    error: str | None = None
    skipped: str | None = None

    @property
    def open(self) -> bool:
        return self.error is None and self.skipped is None

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)


def run_batch(
    editor: Editor,
    scorer: Scorer,
    encoder: Encoder,
    programs: Sequence[Program],
    progress: ProgressCallback = silent,
    suite: SuitePrograms | None = None,
    held: HeldAnswers | None = None,
    shared: SharedEdits | None = None,
) -> list[CaseScores]:
    """Edit and score ``programs``; one answer each, in order. Never raises for a single broken case.

    Args:
        held: answers what the base model holds, where that takes passes of its own; it may know answers already.
        shared: keeps the edits that programs share from one batch to the next.

    Raises:
        BatchDoesNotFit: memory ran out, and there are several programs. With one, its error says so.
        UsageError: for what concerns the whole run (a second moment that cannot be computed).
    """
    if isinstance(editor, WritesModel) and len(programs) > 1:
        # One by one, so that a write outside of an edit is reported with the case that it belongs to.
        return [run_batch(editor, scorer, encoder, [each], progress, suite, held, shared)[0] for each in programs]
    started = time.perf_counter()
    progress = forwards_only(progress)
    runs = [_Run(program) for program in programs]
    for run in runs:
        run.skipped = unscorable(run.program, encoder)
    edit_programs(editor, runs, progress, suite, shared)
    edited = time.perf_counter()
    try:
        probing = Probing(scorer, encoder, held or HeldAnswers(scorer.forward, encoder, max_tokens=scorer.max_tokens))
        _score(probing, [run for run in runs if run.open], progress, alone=len(runs) == 1)
    except UntrustedEditor as error:
        raise UntrustedEditor(error.what, where=f"editor '{editor.name}'", fix=error.fix) from None
    if (wrong := _written_outside_of_edits(editor)) is not None:
        for run in runs:
            run.error = wrong if run.open else run.error
    ended = time.perf_counter()
    share = max(1, sum(run.skipped is None for run in runs))
    timings = {"edit": (edited - started) / share, "score": (ended - edited) / share}
    answers = []
    for run in runs:
        broken = (probe.measure for probe in run.probes if not all(map(math.isfinite, probe.probabilities)))
        if (measure := next(broken, None)) is not None:
            run.error = run.error or f"the edited model's {_NOT_FINITE[measure]} not finite (NaN or infinity)"
        answers.append(
            CaseScores(
                case_id=run.program.case_id,
                probes=run.probes if run.open else (),
                held_parts=run.held_parts if run.open else {},
                seconds=sum(timings.values()) if run.skipped is None else 0.0,
                notes=tuple(run.notes),
                error=run.error,
                skipped=run.skipped,
                timings=timings if run.skipped is None else {},
            )
        )
    return answers


def edited_model_of(editor: Editor, program: Program, state: str, suite: SuitePrograms | None = None) -> EditedModel:
    """The edited model of one state of one program; nothing that another state needs is computed.

    Raises:
        CaseError: it cannot be computed.
        UsageError: the program has no such state.
    """
    chosen = next((known for known in program.states if known.name == state), None)
    if chosen is None:
        raise UsageError(
            f"the case has no state '{state}'",
            where=program.case_id,
            fix=did_you_mean(state, (known.name for known in program.states)),
        )
    run = _Run(replace(program, states=(chosen,)))
    edit_programs(editor, [run], silent, suite)
    wrong = run.error or _written_outside_of_edits(editor)
    if wrong is not None:
        raise CaseError(wrong, where=program.case_id)
    return run.models[chosen.steps]


def edit_programs(
    editor: Editor,
    runs: Sequence[_Run],
    progress: ProgressCallback,
    suite: SuitePrograms | None = None,
    shared: SharedEdits | None = None,
) -> None:
    """Compute every edited model that the states need; see `_in_turns` for their order.

    Programs that share their edits get one result; it is computed where ``shared`` does not have it.
    """
    kept = SharedEdits() if shared is None else shared
    turns = _in_turns(editor, runs)
    for turn, planned in enumerate(turns):
        wanted = [(run, steps) for run, steps in planned if run.open]
        firsts: dict[_JobKey, tuple[_Run, Steps]] = {}
        for run, steps in wanted:
            if kept.get(run.program, steps) is None:
                firsts.setdefault(_job_key(run, steps), (run, steps))
        missing = list(firsts.values())
        jobs = [
            EditJob(
                run.program.edits_id,
                steps[-1] + 1,
                run.program.steps[steps[-1]],
                run.models[steps[:-1]],
                run.states.get(steps[:-1]),
                suite,
            )
            for run, steps in missing
        ]
        # One scale for all turns, so that the progress line never runs backwards.
        scaled = as_part(progress, turn, 1, len(turns))
        starts = all(len(steps) == 1 for _, steps in planned)

        def edit(part: list[EditJob], report: ProgressCallback = scaled, starts: bool = starts) -> list[EditResult]:
            if starts and isinstance(editor, KeepsState):
                editor.reset()
            results = editor.edit(part, report)
            if len(results) != len(part):
                raise CaseError(f"it gave {len(results)} results for {len(part)} job(s)")
            return results

        def remark(note: str, wanted: Sequence[tuple[_Run, Steps]] = tuple(wanted)) -> None:
            for run, _ in wanted:
                run.note(f"editing was {note}")

        def fail(job: EditJob, error: str) -> EditResult:
            return EditResult(error=f"edit {job.step}: {error}")

        results = isolated(edit, jobs, fail, remark, alone=len(runs) == 1)
        found: dict[_JobKey, EditResult] = {}
        for (run, steps), result in zip(missing, results, strict=True):
            found[_job_key(run, steps)] = checked = _checked(result, steps)
            kept.keep(run.program, steps, checked)
        for run, steps in wanted:
            _take(editor, run, steps, kept.get(run.program, steps) or found[_job_key(run, steps)])


def _job_key(run: _Run, steps: Steps) -> _JobKey:
    """What runs have in common that get one job: the edits that they share; otherwise each has its own."""
    return run.program.shared or id(run), steps


def _checked(result: EditResult, steps: Steps) -> EditResult:
    """Return a result as it counts: one with a weight that is not finite has failed."""
    notes, error = result.notes, result.error
    if error is None and len(steps) == 1 and steps[0] == 0 and not result.model:
        notes += (NOTHING_CHANGED,)
    if error is None and (wrong := not_finite(result.model)) is not None:
        error = f"edit {steps[-1] + 1}: {wrong}"
    return replace(result, notes=notes, error=error)


def _take(editor: Editor, run: _Run, steps: Steps, result: EditResult) -> None:
    """Take a result into a run."""
    for note in result.notes:
        run.note(note)
    if result.error is not None:  # names editor and step; the report adds the case
        run.error = run.error or f"editor '{editor.name}', {result.error}"
    else:
        run.models[steps] = result.model
        run.states[steps] = result.state


def _in_turns(editor: Editor, runs: Sequence[_Run]) -> list[list[tuple[_Run, Steps]]]:
    """The edited models that the states need, by the steps that make them, in the order in which they are made.

    All cases' n-th steps together; for an editor that is lent the model itself one after another, each chain to its
    end before the next one starts at the unedited model.
    """
    chains = [
        (run, steps)
        for run in runs
        for steps in sorted({state.steps[:n] for state in run.program.states for n in range(1, len(state.steps) + 1)})
    ]
    if isinstance(editor, WritesModel):
        turns: list[list[tuple[_Run, Steps]]] = []
        for run, steps in chains:
            if len(steps) > 1 and turns[-1] != [(run, steps[:-1])]:
                # what the editor keeps is another chain's: it has to come to this point again
                turns += [[(run, steps[:n])] for n in range(1, len(steps))]
            turns.append([(run, steps)])
        return turns
    depth = max((len(steps) for _, steps in chains), default=0)
    return [[each for each in chains if len(each[1]) == level] for level in range(1, depth + 1)]


def _written_outside_of_edits(editor: Editor) -> str | None:
    """What was changed in the base model since the last edit; None if nothing was."""
    wrong = editor.verify() if isinstance(editor, WritesModel) else None
    return None if wrong is None else f"editor '{editor.name}': {wrong}"


def forwards_only(progress: ProgressCallback) -> ProgressCallback:
    """Passes on progress beyond what was reported before: a batch that is repeated in parts counts from 0 again."""
    reached: dict[str, float] = {}

    def report(latest: Progress) -> None:
        share = latest.done / max(1, latest.total)
        if share > reached.get(latest.stage, -1.0):
            reached[latest.stage] = share
            progress(latest)

    return report


def _score(probing: Probing, runs: Sequence[_Run], progress: ProgressCallback, alone: bool) -> None:
    def remark(note: str) -> None:
        for run in runs:
            run.note(f"scoring was {note}")

    progress(Progress("score", 0, len(runs)))
    isolated(lambda part: _score_together(probing, part), list(runs), _fail, remark, alone=alone)
    progress(Progress("score", len(runs), len(runs)))


def _fail(run: _Run, error: str) -> None:
    run.error = f"scoring: {error}"


def _score_together(probing: Probing, runs: Sequence[_Run]) -> list[None]:
    """Write each run's answers into it; nothing is written where anything raises."""
    answers = probing.answers([run.program for run in runs], [run.models for run in runs])
    for run, answer in zip(runs, answers, strict=True):
        run.probes, run.held_parts = answer.probes, dict(answer.held_parts)
        if None in run.held_parts.values():
            run.notes.append("held is unknown: the model's tokenizer cannot write the fact's object")
    return [None] * len(runs)
