"""New facts as text before the prompt, and the edited model that has them there.

    New Fact: {rewrite prompt} {target}
    Prompt: ...

The format is that of zjunlp/EasyEdit's IKE. The newest fact stands last, next to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.overlay import PromptPrefix
from pytest_editpitfalls.program import EditRequest, Program

Facts = tuple[EditRequest, ...]


def fact_text(request: EditRequest) -> str:
    """The fact as a sentence: rewrite prompt, one space, target."""
    return f"{request.question} {request.target_new}"


def facts_text(facts: Sequence[EditRequest]) -> str:
    """What stands right before every prompt."""
    return "".join(f"New Fact: {fact_text(fact)}\n" for fact in facts) + "Prompt: "


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
