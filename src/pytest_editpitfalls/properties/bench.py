"""An editor on a model, asked about sequences of edits: each is computed once, in a process of its own."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import CaseError, UnscorableCase
from pytest_editpitfalls.execution.forked import ChildEnded, answer_of_child, scores_from
from pytest_editpitfalls.execution.time_limit import BatchTimeout, time_limit, too_slow
from pytest_editpitfalls.program import CaseScores, Probe, Program, State, SuitePrograms

from .drawn import Edits, FactToEdit, TooSlow, in_words

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.written import WrittenWeights

HELD_OUT = 4
"""Facts that no edit is about, asked before and after."""

EPSILON = 0.1
"""Difference of two log-probabilities, in nats, that counts as none where edits may differ a little."""

Asked = tuple[str, str]
"""A prompt and the target that is asked after it."""

LogProbabilities = Mapping[Asked, float]
"""Mean log-probability of the target's tokens, in nats."""


@dataclass(frozen=True)
class Answers:
    """What is said by the base model, before the last edit and after it."""

    states: tuple[LogProbabilities, ...]

    @property
    def base(self) -> LogProbabilities:
        return self.states[0]

    @property
    def last(self) -> LogProbabilities:
        """After all edits."""
        return self.states[-1]


class EditorBench:
    """An editor on a model.

    Args:
        session: the model, opened by the engine.
        editor: the editor's name.
        facts: what edits are drawn from; those that no edit is about are asked as well.
        limit: seconds that a computation may take; None: no limit.
        say: called with a message where a process that does not stop is ended.

    On a CPU every question is computed in a forked process, so that what an editor keeps in global variables cannot
    reach the next one. On a GPU, and where processes cannot be forked, all is computed in this process.
    """

    def __init__(
        self,
        session: EngineSession,
        editor: str,
        facts: Sequence[FactToEdit],
        limit: float | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        from pytest_editpitfalls.engine.editors.editor_registry import EDITORS

        self.session = session
        self.editor = editor
        self._limit, self._say = limit, say
        self.facts = tuple(facts)
        self.declaration: EditorDeclaration = EDITORS.get(editor)
        self._known: dict[Any, Any] = {}
        programs = [self.program((fact.edited(fact.others[0]),)) for fact in self.facts]
        self._suite = SuitePrograms("properties", lambda: programs)
        self._forks = hasattr(os, "fork") and session.host.device.type == "cpu"

    @classmethod
    def open(
        cls, editor: str | Callable[..., Any] | type[Any], model: str, facts: Sequence[FactToEdit], **settings: Any
    ) -> EditorBench:
        """Open a model for an editor.

        Args:
            editor: a name, or a function, class or declaration of your own (docs/write-an-editor.md).
            model: a name, Hugging Face id, directory or GGUF file.
            facts: as of the class.
            settings: further fields of the engine's settings: ``device``, ``dtype``, ``seed``, ``batch_size``, and
                ``overrides``: hyper-parameters by editor.

        Raises:
            UsageError: there is no such editor, or the model cannot be opened.
        """
        from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
        from pytest_editpitfalls.engine.session import EngineSession
        from pytest_editpitfalls.engine.settings import EngineSettings

        name = (
            editor if isinstance(editor, str) else str(getattr(editor, "name", getattr(editor, "__name__", "editor")))
        )
        if not isinstance(editor, str):
            EDITORS.add(name, editor, origin="a test")
        return cls(EngineSession.open(EngineSettings(model, **settings)), name, facts)

    @property
    def rounding(self) -> float:
        """Largest difference that is rounding, in nats, relative to the larger of 1 and the log-probability."""
        from pytest_editpitfalls.engine.probing.one_row import rounding

        return rounding(self.session.host.dtype)

    def epsilon(self, name: str) -> float:
        """Return how far log-probabilities may be apart for an approximate property, in nats."""
        return max(self.declaration.epsilon.get(name, EPSILON), self.rounding)

    @property
    def exact(self) -> float:
        """As `rounding`, for the same work done twice: 0 on a CPU. On a GPU sums may run in another order."""
        return 0.0 if self.session.host.device.type == "cpu" else self.rounding

    def held_out(self, edits: Edits) -> list[Asked]:
        """Return what is asked of facts that no edit is about."""
        about = frozenset[str]().union(*(edit.labels for edit in edits))
        asked = [
            (fact.question, fact.object)
            for fact in self.facts
            if about.isdisjoint({fact.subject.casefold(), fact.object.casefold()})
        ]
        return list(dict.fromkeys(asked))[:HELD_OUT]

    def about(self, edits: Edits) -> list[Asked]:
        """Return what is asked of the edited facts: the old and the new object, after each prompt."""
        asked = [
            (prompt, label)
            for edit in edits
            for prompt in (edit.fact.question, *edit.fact.paraphrases)
            for label in (edit.target, edit.fact.object)
        ]
        return list(dict.fromkeys(asked))

    def program(self, edits: Edits, beside: Edits = ()) -> Program:
        """Return the program of edits, one after another; what ``beside`` is about is asked as well."""
        joiners = {fact.question: fact.joiner for fact in self.facts}
        joiners |= {
            prompt: e.fact.joiner for e in (*edits, *beside) for prompt in (e.fact.question, *e.fact.paraphrases)
        }
        asked = sorted({*self.about((*edits, *beside)), *self.held_out((*edits, *beside))})
        steps = tuple((edit.request,) for edit in edits)
        asked_after = sorted({0, max(0, len(edits) - 1), len(edits)})
        states = tuple(State(str(count), tuple(range(count))) for count in asked_after)
        # named by the edits: what is drawn at random for them does not depend on who asks
        name = hashlib.sha256(repr(steps).encode()).hexdigest()[:12]
        probes = tuple(
            Probe(f"{number}", state.name, (prompt,), target, joiner=joiners[prompt])
            for state in states
            for number, (prompt, target) in enumerate(asked)
        )
        return Program(name, steps, states, probes)

    def answers(self, edits: Edits, beside: Edits = ()) -> Answers:
        """Return what the edited models of a sequence say, each asked in a clean process."""
        return self.run([[(edits, beside)]])[0][0]

    def run(self, calls: Sequence[Sequence[tuple[Edits, Edits]]], *, fresh: bool = False) -> list[list[Answers]]:
        """Edit and ask, in one process, one call of the engine after another.

        Args:
            calls: what each call gets: sequences of edits that are independent of one another, each with the edits
                that are asked about besides.
            fresh: whether each call has an editor of its own, under the same seed.

        Raises:
            CaseError: the editor fails.
            UnscorableCase: the model's tokenizer cannot write an edit.
        """
        programs = [[self.program(*each) for each in call] for call in calls]
        key = (fresh, *(tuple(call) for call in programs))
        if key not in self._known:
            self._known[key] = self._computed(lambda: self._scores(programs, fresh))
        found = [[scores_from(each) for each in call] for call in self._known[key]]
        return [
            [self._read(edits, program, scores) for (edits, _), program, scores in zip(call, asked, got, strict=True)]
            for call, asked, got in zip(calls, programs, found, strict=True)
        ]

    def written(self, edits: Edits) -> WrittenWeights:
        """Return what the edits change in the model, and in the base model beside it; raises as `run`."""
        from pytest_editpitfalls.engine.written import WrittenWeights

        program = self.program(edits)
        state = program.states[-1].name
        self.answers(edits)  # says what fails, and what cannot be written
        key = ("written", program)
        if key not in self._known:
            work = self.session.written
            self._known[key] = self._computed(lambda: asdict(work(self.editor, program, state, self._suite)))
        found = self._known[key]
        declared = found["declared"]
        return WrittenWeights(
            tuple(found["names"]), None if declared is None else tuple(declared), tuple(found["in_base"])
        )

    @property
    def declares_weights(self) -> bool:
        """Whether the editor says what it may change; known once `written` was asked."""
        return any(key[0] == "written" and found["declared"] is not None for key, found in self._known.items())

    def present(self, fact: FactToEdit) -> str:
        """Return which object the base model prefers after the rewrite prompt, of the true one and all others."""
        labels = (fact.object, *fact.others)
        probes = tuple(Probe(label, "0", (fact.question,), label, joiner=fact.joiner) for label in labels)
        program = Program(f"present {fact.question}", (), (State("0", ()),), probes)
        key = ("present", program)
        if key not in self._known:
            self._known[key] = self._computed(
                lambda: asdict(self.session.run(self.editor, [program], suite=self._suite)[0])
            )
        scores = scores_from(self._known[key])
        if scores.skipped is not None:
            raise UnscorableCase(scores.skipped)
        if scores.error is not None:
            raise CaseError(scores.error, where=fact.question)
        values = {probe.fact: probe.probabilities[0] for probe in scores.probes}
        return max(labels, key=lambda label: values[label])

    def _scores(self, calls: Sequence[Sequence[Program]], fresh: bool) -> list[list[dict[str, Any]]]:
        seed = self.session.settings.seed
        return [
            [
                asdict(each)
                for each in (self.session.under_seed(seed) if fresh else self.session).run(
                    self.editor, programs, suite=self._suite
                )
            ]
            for programs in calls
        ]

    def _computed(self, work: Callable[[], Any]) -> Any:
        try:
            with time_limit(self._limit, f"a property of editor '{self.editor}'", self._say):
                return self._computed_at_leisure(work)
        except BatchTimeout:
            raise TooSlow(too_slow(self.editor, self._limit)) from None

    def _computed_at_leisure(self, work: Callable[[], Any]) -> Any:
        if not self._forks:
            return work()
        self.session.prepare(self.editor)  # once, and not in every process
        try:
            return answer_of_child(work)
        except ChildEnded as ended:
            raise CaseError(str(ended), where=f"editor '{self.editor}'") from None

    def _read(self, edits: Edits, program: Program, scores: CaseScores) -> Answers:
        if scores.skipped is not None:
            raise UnscorableCase(scores.skipped)
        if scores.error is not None:
            raise CaseError("\n".join((scores.error, *in_words(edits))), where=f"editor '{self.editor}'")
        states: dict[str, dict[Asked, float]] = {state.name: {} for state in program.states}
        for probe, score in zip(program.probes, scores.probes, strict=True):
            assert isinstance(probe, Probe)
            (probability,) = score.probabilities
            states[probe.state][probe.inputs[0], probe.object] = _log(probability)
        return Answers(tuple(states.values()))


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0.0 else -math.inf
