"""One batch of programs through its states: edits step by step, then all probes. A broken case harms no other.

`batch_size.automatic` decides how many programs a batch has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.errors import (
    CaseError,
    UntrustedEditor,
    UsageError,
    did_you_mean,
)
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import (
    CaseScores,
    Program,
    SuitePrograms,
    SuitesOf,
)

from .chains.checkpoints import ChainFiles
from .chains.editing import edit_programs
from .chains.run import Run
from .editing.interface import Editor, WritesModel
from .held import HeldAnswers
from .in_context import Window
from .isolation import isolated
from .overlay import EditedModel
from .probing import Probing, unscorable
from .scoring import Scorer
from .settings import Progress, ProgressCallback, silent
from .shared_edits import SharedEdits
from .tokens import Encoder

_NOT_FINITE: dict[Measure, str] = {
    "probability": "probabilities are",
    "said": "next tokens cannot be told: its logits are",
    "perplexity": "perplexities are",
    "divergence": "distance from the base model is",
}


def run_batch(
    editor: Editor,
    scorer: Scorer,
    encoder: Encoder,
    programs: Sequence[Program],
    progress: ProgressCallback = silent,
    suite: SuitesOf = None,
    held: HeldAnswers | None = None,
    shared: SharedEdits | None = None,
    files: ChainFiles | None = None,
) -> list[CaseScores]:
    """Edit and score ``programs``; one answer each, in order. Never raises for a single broken case.

    Args:
        suite: all cases of the suite that the programs are from, or of that of each.
        held: answers what the base model holds, where that takes passes of its own; it may know answers already.
        shared: keeps the edits that programs share from one batch to the next.
        files: keep long chains while they run, so that one that was stopped goes on where it was.

    Raises:
        BatchDoesNotFit: memory ran out, and there are several programs. With one, its error says so.
        UsageError: for what concerns the whole run (a second moment that cannot be computed).
    """
    if isinstance(editor, WritesModel) and len(programs) > 1:
        # One by one, so that a write outside of an edit is reported with the case that it belongs to.
        return [
            run_batch(editor, scorer, encoder, [run.program], progress, run.suite, held, shared)[0]
            for run in Run.each(programs, suite)
        ]
    started = time.perf_counter()
    progress = forwards_only(progress)
    runs = Run.each(programs, suite)
    window = Window(scorer.forward.host)
    for run in runs:
        run.skipped = unscorable(run.program, encoder, window)
    edit_programs(editor, runs, progress, shared, files)
    edited = time.perf_counter()
    try:
        probing = Probing(scorer, encoder, held or HeldAnswers(scorer.forward, encoder, max_tokens=scorer.max_tokens))
        _score(probing, [run for run in runs if run.open], progress, alone=len(runs) == 1)
    except UntrustedEditor as error:
        raise UntrustedEditor(error.what, where=f"editor '{editor.name}'", fix=error.fix) from None
    if files is not None:
        files.discard([run for run in runs if run.open])
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
    run = Run(replace(program, states=(chosen,)), suite)
    edit_programs(editor, [run], silent)
    wrong = run.error or _written_outside_of_edits(editor)
    if wrong is not None:
        raise CaseError(wrong, where=program.case_id)
    return run.models[chosen.steps]


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


def _score(probing: Probing, runs: Sequence[Run], progress: ProgressCallback, alone: bool) -> None:
    def remark(note: str) -> None:
        for run in runs:
            run.note(f"scoring was {note}")

    progress(Progress("score", 0, len(runs)))

    def raised(run: Run, error: str, cause: Exception) -> None:
        CAUSES.keep(run.cause, f"scoring: {error}", cause)

    isolated(lambda part: _score_together(probing, part), list(runs), _fail, remark, alone=alone, raised=raised)
    progress(Progress("score", len(runs), len(runs)))


def _fail(run: Run, error: str) -> None:
    run.error = f"scoring: {error}"


def _score_together(probing: Probing, runs: Sequence[Run]) -> list[None]:
    """Write each run's answers into it; nothing is written where anything raises."""
    answers = probing.answers([run.program for run in runs], [run.models for run in runs])
    for run, answer in zip(runs, answers, strict=True):
        run.probes, run.held_parts = answer.probes, dict(answer.held_parts)
        if None in run.held_parts.values():
            run.notes.append("held is unknown: the model's tokenizer cannot write the fact's object")
    return [None] * len(runs)
