"""In-context editing, which writes nothing and tells the model the new fact instead: what IKE and ICE share.

    New Fact: {rewrite prompt} {target}
    Prompt: ...

The format is that of zjunlp/EasyEdit's IKE. The newest fact stands last, next to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import nn

from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.probes import AnyProbe, Generated, Probe
from pytest_editpitfalls.program import EditRequest, Program

from .editing.interface import EditJob, EditResult
from .model_adapter import ModelAdapter
from .overlay import PromptPrefix, without

OFFSET = 2
"""Rows that a table of learned positions may have besides (OPT)."""

Facts = tuple[EditRequest, ...]

UNKNOWN_ROOM = 64
"""Tokens left for prompt and target where the case's prompts are not known."""

JOINT = 4
"""Tokens that joining prefix and prompt may add."""


def fact_text(request: EditRequest) -> str:
    """The fact as a sentence: rewrite prompt, what joins the two (mostly one space), target."""
    return request.sentence


def facts_text(facts: Sequence[EditRequest]) -> str:
    """What stands right before every prompt."""
    return "".join(f"New Fact: {fact_text(fact)}\n" for fact in facts) + "Prompt: "


def program_of(job: EditJob) -> Program | None:
    """The job's whole case, where its suite is known; the first of those that share their edits."""
    programs = job.suite.programs if job.suite else ()
    return next((program for program in programs if program.edits_id == job.case_id), None)


def prefix_result(job: EditJob, facts: Facts, text: str, notes: tuple[str, ...] = ()) -> EditResult:
    """The model with ``text`` as its only prefix; says in which order the facts stand."""
    if len(facts) > 1:
        order = "; ".join(fact_text(fact) for fact in facts)
        notes += (f"edit {job.step}: order of the facts in the prefix, newest last: {order}",)
    return EditResult((*without(job.model, PromptPrefix), PromptPrefix(text)), facts, notes)


class Window:
    """The model's context window.

    Attributes:
        size: tokens that a row may have; None where the configuration names no limit.
    """

    def __init__(self, host: ModelAdapter) -> None:
        self._host, self._encoder = host, host.encoder
        size = getattr(host.config, "max_position_embeddings", None)
        self.size: int | None = size if isinstance(size, int) and size > 0 else None

    @cached_property
    def learned(self) -> int | None:
        """The limit where positions are learned (GPT-2, OPT): beyond it there is no number to compute with."""
        if self.size is None:
            return None
        words = self._host.model.get_input_embeddings()
        tables = [each for each in self._host.model.modules() if isinstance(each, nn.Embedding) and each is not words]
        return self.size if any(0 <= each.num_embeddings - self.size <= OFFSET for each in tables) else None

    def too_long(self, program: Program) -> str | None:
        """Return what of a case has more tokens than the model has learned positions; None where nothing has."""
        size = self.learned
        if size is None:
            return None
        asked = [(text, self._behind(probe)) for probe in program.probes for text in probe.inputs]
        asked += [
            (request.question, len(self._encoder.target(request.target_new, request.joiner)))
            for step in program.steps
            for request in step
        ]
        for text, behind in asked:
            if (count := len(self._encoder.prompt(text))) + behind > size:
                return f"a prompt of {count} tokens with {behind} behind it is longer than the model's {size} positions"
        return None

    def room(self, program: Program | None) -> int:
        """Tokens of the longest prompt that the case asks, with the target or the text that comes behind it."""
        if program is None or not program.probes:
            return UNKNOWN_ROOM
        return JOINT + max(
            len(self._encoder.prompt(text)) + self._behind(probe) for probe in program.probes for text in probe.inputs
        )

    def _behind(self, probe: AnyProbe) -> int:
        """Tokens that come behind each prompt of a probe."""
        if isinstance(probe, Generated):
            return probe.max_tokens
        return len(self._encoder.target(probe.target, probe.joiner)) if isinstance(probe, Probe) else 0

    def fits(self, text: str, program: Program | None) -> bool:
        """Whether every prompt of the case fits behind ``text``."""
        return self.size is None or len(self._encoder.prompt(text)) + self.room(program) <= self.size

    def check(self, text: str, program: Program | None) -> None:
        """Raise `CaseError` where it does not fit."""
        if not self.fits(text, program):
            raise CaseError(
                f"the facts take {len(self._encoder.prompt(text))} tokens and the longest prompt "
                f"{self.room(program)}, but the model's context window has {self.size}",
                fix="use a model with a longer context window, or shorter facts",
            )
