"""Edits of many programs, step by step: all programs' n-th steps together.

Of a chain only the models stay that a state names. Another one is dropped when the next steps have been made of it, and
a model of many edits is folded (`overlay.folded`), so that a chain of 10,000 edits takes what one of 500 does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.engine.editing.interface import EditJob, Editor, EditResult, KeepsState, WritesModel
from pytest_editpitfalls.engine.isolation import isolated
from pytest_editpitfalls.engine.overlay import EditedModel, folded, not_finite
from pytest_editpitfalls.engine.settings import ProgressCallback, as_part
from pytest_editpitfalls.engine.shared_edits import SharedEdits
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import NOTHING_CHANGED

from .checkpoints import ChainFiles, kept_on_the_way
from .prefixes import Prefix, Steps
from .run import Run

Wanted = tuple[Run, Prefix]
_JobKey = tuple[str | int, Steps | int]


def edit_programs(
    editor: Editor,
    runs: Sequence[Run],
    progress: ProgressCallback,
    shared: SharedEdits | None = None,
    files: ChainFiles | None = None,
) -> None:
    """Compute every edited model that the states need; see `_in_turns` for their order.

    Programs that share their edits get one result; it is computed where ``shared`` does not have it. What ``files`` has
    of a long chain is taken from there.
    """
    kept = SharedEdits() if shared is None else shared
    if files is not None and isinstance(editor, (KeepsState, WritesModel)):
        files = None  # what such an editor remembers besides is in no file
    known = set[Prefix]() if files is None else files.resumed(runs)
    turns = _in_turns(editor, runs, known)
    uses = Counter(prefix.parent for turn in turns for _, prefix in turn)
    made: list[Wanted] = []
    with kept_on_the_way(files, lambda: made):
        for turn, planned in enumerate(turns):
            # One scale for all turns, so that the progress line never runs backwards.
            report = as_part(progress, turn, 1, len(turns))
            _edit_turn(editor, [each for each in planned if each[0].open], report, kept, alone=len(runs) == 1)
            for run, prefix in made:
                if not uses[prefix]:
                    run.results.pop(prefix, None)
            for run, prefix in planned:
                uses[prefix.parent] -= 1
                if prefix.parent is not None and not uses[prefix.parent]:
                    run.results.pop(prefix.parent, None)
            made = [(run, prefix) for run, prefix in planned if run.open]
            if files is not None:
                files.keep_if_due(made)
        for run, _ in made:
            run.results.clear()


def _edit_turn(
    editor: Editor,
    wanted: Sequence[Wanted],
    progress: ProgressCallback,
    kept: SharedEdits,
    alone: bool,
) -> None:
    """Compute some edited models together, of models that are there."""
    firsts: dict[_JobKey, Wanted] = {}
    for run, prefix in wanted:
        if _shared_result(kept, run, prefix) is None:
            firsts.setdefault(_job_key(run, prefix), (run, prefix))
    missing = list(firsts.values())
    jobs = [_job(run, prefix) for run, prefix in missing]
    starts = all(prefix.depth == 1 for _, prefix in wanted)

    def edit(part: list[EditJob]) -> list[EditResult]:
        if starts and isinstance(editor, KeepsState):
            editor.reset()
        results = editor.edit(part, progress)
        if len(results) != len(part):
            raise CaseError(f"it gave {len(results)} results for {len(part)} job(s)")
        return results

    def remark(note: str) -> None:
        for run, _ in wanted:
            run.note(f"editing was {note}")

    def fail(job: EditJob, error: str) -> EditResult:
        return EditResult(error=f"edit {job.step}: {error}")

    def raised(job: EditJob, error: str, cause: Exception) -> None:
        CAUSES.keep(job.cause, f"edit {job.step}: {error}", cause)

    results = isolated(edit, jobs, fail, remark, alone=alone, raised=raised)
    found: dict[_JobKey, EditResult] = {}
    for (run, prefix), job, result in zip(missing, jobs, results, strict=True):
        found[_job_key(run, prefix)] = checked = _checked(result, prefix, job.model)
        if run.program.shared:
            kept.keep(run.program, prefix.steps, checked)
    for run, prefix in wanted:
        _take(editor, run, prefix, _shared_result(kept, run, prefix) or found[_job_key(run, prefix)])


def _job(run: Run, prefix: Prefix) -> EditJob:
    before = run.before(prefix)
    requests = run.program.steps[prefix.step]
    return EditJob(run.program.edits_id, prefix.step + 1, requests, before.model, before.state, run.suite)


def _shared_result(kept: SharedEdits, run: Run, prefix: Prefix) -> EditResult | None:
    return kept.get(run.program, prefix.steps) if run.program.shared else None


def _job_key(run: Run, prefix: Prefix) -> _JobKey:
    """What runs have in common that get one job: the edits that they share; otherwise each has its own."""
    return (run.program.shared, prefix.steps) if run.program.shared else (id(run), id(prefix))


def _checked(result: EditResult, prefix: Prefix, before: EditedModel) -> EditResult:
    """Return a result as it counts: in few changes; one with a weight that is not finite has failed."""
    notes, error = result.notes, result.error
    if error is None and prefix.depth == 1 and prefix.step == 0 and not result.model:
        notes += (NOTHING_CHANGED,)
    there = set(map(id, before))  # was looked at when it was written
    if error is None and (wrong := not_finite(tuple(new for new in result.model if id(new) not in there))) is not None:
        error = f"edit {prefix.step + 1}: {wrong}"
    model = result.model if error is not None else folded(result.model)
    if error is None and model is not result.model and (wrong := not_finite(model)) is not None:
        error = f"edit {prefix.step + 1}: {wrong}"
    return replace(result, model=model, notes=notes, error=error)


def _take(editor: Editor, run: Run, prefix: Prefix, result: EditResult) -> None:
    """Take a result into a run."""
    for note in result.notes:
        run.note(note)
    if result.error is not None:  # names editor and step; the report adds the case
        run.error = run.error or f"editor '{editor.name}', {result.error}"
        return
    run.results[prefix] = replace(result, notes=())
    if prefix.asked:
        run.models[prefix.steps] = result.model


def _in_turns(editor: Editor, runs: Sequence[Run], known: set[Prefix]) -> list[list[Wanted]]:
    """The edited models that the states need, in the order in which they are made.

    All cases' n-th steps together; for an editor that is lent the model itself one after another, each chain to its
    end before the next one starts at the unedited model.

    Args:
        known: what is there already, with all that is only needed to make it.
    """
    chains = [(run, prefix) for run in runs for prefix in run.base.below() if prefix not in known]
    if isinstance(editor, WritesModel):
        turns: list[list[Wanted]] = []
        for run, prefix in chains:
            assert prefix.parent is not None
            if prefix.depth > 1 and turns[-1] != [(run, prefix.parent)]:
                # what the editor keeps is another chain's: it has to come to this point again
                turns += [[(run, each)] for each in _way_to(prefix.parent)]
            turns.append([(run, prefix)])
        return turns
    levels: dict[int, list[Wanted]] = {}
    for run, prefix in chains:
        levels.setdefault(prefix.depth, []).append((run, prefix))
    return [levels[depth] for depth in sorted(levels)]


def _way_to(prefix: Prefix) -> list[Prefix]:
    """The models on the way from the unedited one to this one, which is the last."""
    way = [prefix]
    while (parent := way[-1].parent) is not None and parent.parent is not None:
        way.append(parent)
    return way[::-1]
