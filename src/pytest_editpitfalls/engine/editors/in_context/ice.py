"""ICE: the new fact before the prompt, nothing else (Cohen et al. 2023, arXiv 2307.12976).

    New Fact: {rewrite prompt} {target}
    Prompt: ...

A later edit's fact goes behind the earlier ones, so the newest stands last, next to the prompt; requests of one step
(Multi-Label Edit) stand in their order. The format is that of zjunlp/EasyEdit's IKE. The order is in the case's notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_editpitfalls.engine.editors.base import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.hyperparameters.in_context import IceHyperparameters
from pytest_editpitfalls.engine.overlay import PromptPrefix
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import EditRequest, Program

from .window import Window

Facts = tuple[EditRequest, ...]


def fact_text(request: EditRequest) -> str:
    """The fact as a sentence: rewrite prompt, one space, target."""
    return f"{request.question} {request.target_new}"


def facts_text(facts: Sequence[EditRequest]) -> str:
    """What stands right before every prompt."""
    return "".join(f"New Fact: {fact_text(fact)}\n" for fact in facts) + "Prompt: "


class Ice:
    """The editor. See the module's docstring.

    Args:
        hyperparameters: there are none.
        resources: model and settings.
    """

    name = "ice"

    def __init__(self, hyperparameters: IceHyperparameters, resources: EditorResources) -> None:
        self._hp = hyperparameters
        self._window = Window(resources.host)

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Nothing is shared by cases."""

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Put each job's facts into its prefix, behind those of earlier edits."""
        results = []
        for job in jobs:
            facts: Facts = (*(job.state or ()), *job.requests)
            text = facts_text(facts)
            try:
                self._window.check(text, program_of(job))
            except CaseError as error:
                results.append(EditResult(error=f"edit {job.step}: {error}"))
                continue
            results.append(prefix_result(job, facts, text))
        progress(Progress("edit", len(jobs), len(jobs)))
        return results

    def describe(self) -> dict[str, Any]:
        """The format of the prefix."""
        return {"editor": self.name, "format": "New Fact: {prompt} {target}\\n ... Prompt: "}


def program_of(job: EditJob) -> Program | None:
    """The job's whole case, where its suite is known."""
    programs = job.suite.programs if job.suite else ()
    return next((program for program in programs if program.case_id == job.case_id), None)


def prefix_result(job: EditJob, facts: Facts, text: str, notes: tuple[str, ...] = ()) -> EditResult:
    """The model with ``text`` as its only prefix; says in which order the facts stand."""
    if len(facts) > 1:
        order = "; ".join(fact_text(fact) for fact in facts)
        notes += (f"edit {job.step}: order of the facts in the prefix, newest last: {order}",)
    others = tuple(change for change in job.model if not isinstance(change, PromptPrefix))
    return EditResult((*others, PromptPrefix(text)), facts, notes)
