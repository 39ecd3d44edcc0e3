"""What a kind of pitfall says of itself, and what its programs are made with."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pytest_editpitfalls.cases.case import Case, Edit, Fact, HeldFact, Row
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.probes import AnyProbe, Divergence, Generated, Match, Perplexity, Probe, Stop
from pytest_editpitfalls.program import STATES, EditRequest, HeldQuestion, Program, State

if TYPE_CHECKING:
    from ._construction import Construction
    from ._published_files import PublishedFile
    from ._released_layout import ReleasedLayout

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Topic:
    """What several kinds of pitfall are about; a topic has a table of its own in every report.

    Attributes:
        name: one word, also the name of the group of its suites ("conflict").
        title: heading of the table ("Knowledge conflict").
    """

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class FactWords:
    """What a fact of a program is called in reports.

    Attributes:
        text: what it is ("what edit 1 writes").
        short: a label for a plot ("edit 1's fact"); None leaves it out of plots.
        in_story: whether a case in few words shows its probabilities.
    """

    text: str
    short: str | None = None
    in_story: bool = True


@dataclass(frozen=True, slots=True)
class PlotByFacts:
    """Metrics that a plot draws against the number of a case's facts.

    Attributes:
        metrics: the metrics.
        facts: which facts are counted; "other" counts "other:0", "other:1", ...
        title: what these are, for the axis ("true objects").
    """

    metrics: tuple[str, ...]
    facts: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """Published figures of one editor on one model and suite, as fractions."""

    suite: str
    model: str
    editor: str
    n: int
    metrics: Mapping[str, float]
    citation: str


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """Figures that somebody has published for a kind of pitfall.

    Attributes:
        metrics: the metrics of the columns, in order.
        cells: (suite, model, editor) -> one figure for each metric, in per cent, as printed.
        cases: (suite, model) -> how many cases they are over, where it is not `usual_cases`.
        usual_cases: how many cases the figures are over.
        remarks: (suite, model, editor, metric) -> what is wrong with a cell as printed.
        citation: where they are from.
        cited_as: the same in few words ("Li et al., ICLR 2024").
        place: place of the kind in the published table.
    """

    metrics: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], tuple[float, ...]]
    usual_cases: int
    citation: str
    cases: Mapping[tuple[str, str], int] = field(default_factory=dict)
    remarks: Mapping[tuple[str, str, str, str], str] = field(default_factory=dict)
    cited_as: str = ""
    place: int = 0

    def row(self, suite: str, model: str, editor: str) -> PublishedRow | None:
        """Return the figures of one editor on one model, None where there are none.

        Args:
            suite: the published suite.
            model: a model's name, Hugging Face id or path; GPT2-XL and GPT-J (6B) are recognised by its last part.
            editor: label of the editor ("rome"; "memit+mle" is MEMIT with Multi-Label Edit).
        """
        name = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
        name = {"gpt-j-6b": "gpt-j", "gptj": "gpt-j", "gpt2xl": "gpt2-xl"}.get(name, name)
        cells = self.cells.get((suite, name, editor.lower()))
        if cells is None:
            return None
        figures = {metric: value / 100 for metric, value in zip(self.metrics, cells, strict=True)}
        n = self.cases.get((suite, name), self.usual_cases)
        return PublishedRow(suite, name, editor.lower(), n, figures, self.citation)


class Pitfall(ABC, Generic[R]):
    """One kind of pitfall: what a row of its suites says, what is asked of the edited models, and how that is judged.

    Attributes:
        name: its name in suite files, results and docs ("reverse").
        question: what it asks, in one sentence.
        topic: which table of a report it stands in.
        row: what a line of a suite file holds; a pydantic model.
        facts: name of a fact -> what reports call it. "other" stands for "other:0", "other:1", ... as well.
        written, replaced: names of the facts that edit 1 writes and replaces; both are asked in state 1, so that every
            kind tells whether edit 1 took (`pytest_editpitfalls.metrics.shared.edit_success`).
        metrics: its metrics, in the order of tables.
        thresholds: what a case has to meet where its suite states no thresholds.
        columns: metrics that a summary shows, the most telling first.
        order: place among the kinds in listings and tables.
        multi_label: whether Multi-Label Edit changes its programs (`with_multi_label`).
        published: figures to show beside one's own, where there are some.
        published_file: how to read it from the files that the pitfalls benchmark published, where there are some.
        released_layout: how its results are written for the benchmark's released summary script, where it reads them.
        plots_by_group: metrics that a plot draws for each group of cases.
        plots_by_facts: what a plot draws against the number of a case's facts, where that says something.
        constructions: the suites that can be built of facts and rules, and how (`editpitfalls suites build`).
    """

    name: ClassVar[str]
    question: ClassVar[str]
    topic: ClassVar[Topic]
    row: ClassVar[type[Row]]
    facts: ClassVar[Mapping[str, FactWords]]
    written: ClassVar[str]
    replaced: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    thresholds: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    order: ClassVar[int] = 100
    multi_label: ClassVar[bool] = False
    published: ClassVar[PublishedFigures | None] = None
    published_file: ClassVar[PublishedFile | None] = None
    released_layout: ClassVar[ReleasedLayout | None] = None
    plots_by_group: ClassVar[tuple[str, ...]] = ()
    plots_by_facts: ClassVar[PlotByFacts | None] = None
    constructions: ClassVar[Mapping[str, Construction]] = MappingProxyType({})

    @abstractmethod
    def program(self, case: Case, row: R) -> Program:
        """Return what the engine runs for a case; `program_of` makes it from edits and `ask`."""

    def with_multi_label(self, row: R, program: Program) -> Program:
        """Return the program with Multi-Label Edit; asked only where `multi_label` is true."""
        return program

    def steps_in_words(self, row: R, multi_label: bool) -> list[tuple[Edit, str, str]]:
        """Return for each step its edit, the old object and the new one, in words."""
        return [(edit, edit.object, edit.new_object) for edit in row.edits]

    def published_suite(self, suite: str) -> str:
        """Return which of the published suites one of this name stands for."""
        return self.name

    def published_row(self, suite: str, editor: str, models: Iterable[str | None]) -> PublishedRow | None:
        """Return the published figures for the same editor, one of these names of a model, and this suite."""
        if self.published is None:
            return None
        found = (self.published.row(self.published_suite(suite), model, editor) for model in models if model)
        return next((row for row in found if row is not None), None)

    def compile(self, case: Case, multi_label: bool = False) -> Program:
        """Return the program of a case, with Multi-Label Edit where that is asked for and changes something."""
        program = self.program(case, self._row(case))
        return self.with_multi_label(self._row(case), program) if multi_label and self.multi_label else program

    def edits_in_words(self, case: Case, multi_label: bool = False) -> list[str]:
        """Return one line per step: the question, the old object and the new one. Whoever shows them escapes them."""
        steps = self.steps_in_words(self._row(case), multi_label)
        return [
            f"edit {number}: {case.questions(edit.before)[0].rstrip()} ... {old} -> {new}"
            for number, (edit, old, new) in enumerate(steps, 1)
        ]

    def words_of(self, fact: str) -> FactWords | None:
        """Return what a fact is called; None for one that this kind does not know."""
        return self.facts.get(fact) or self.facts.get(fact.partition(":")[0])

    def _row(self, case: Case) -> Any:
        assert isinstance(case.row, self.row), f"a {case.kind} case with a row of another kind"
        return case.row


def ask(case: Case, name: str, fact: Fact, *states: str, context: str = "") -> tuple[Probe, ...]:
    """Return the probes of one fact: its probability after all prompts of its relation, in each of ``states``.

    Args:
        case: the case, whose relations word the fact.
        name: the fact's name in results.
        fact: the fact.
        states: the states.
        context: text that stands before every prompt, as sentences of the same language do.
    """
    relation = case.relation(fact.relation)
    prompts = in_context(case, fact, context)
    asked = {
        "target": fact.object,
        "subject": relation.written(fact.subject),
        "relation": relation.base,
        "joiner": relation.joiner,
    }
    return tuple(Probe(fact=name, state=state, prompts=prompts, **asked) for state in states)


def in_context(case: Case, fact: Fact, context: str) -> tuple[str, ...]:
    """Return all prompts that ask for a fact, with a text before each."""
    prompts = case.questions(fact)
    return (
        tuple(f"{context}{case.relation(fact.relation).joiner}{prompt}" for prompt in prompts) if context else prompts
    )


def say(
    case: Case,
    name: str,
    fact_or_prompts: Fact | Sequence[str],
    *states: str,
    answers: Sequence[str] = (),
    match: Match = "alias",
    max_tokens: int = 32,
    stop: Stop = "sentence",
) -> tuple[Generated, ...]:
    """Return the probes of what the model says, in each of ``states``: its greedy continuation of every prompt.

    Args:
        case: the case, whose relations word the fact.
        name: the fact's name in results.
        fact_or_prompts: a fact, which is asked with all prompts of its relation, or whole prompts.
        answers: what counts as right; by default the fact's object.
        match: how an answer is told in the text (`pytest_editpitfalls.matching.matches`).
        max_tokens: the most tokens that are generated.
        stop: where the text ends before that.

    Raises:
        UsageError: there is no answer.
    """
    words: dict[str, Any] = {}
    if isinstance(fact_or_prompts, Fact):
        relation = case.relation(fact_or_prompts.relation)
        prompts = relation.questions(fact_or_prompts.subject)
        answers = tuple(answers) or (fact_or_prompts.object,)
        words = {
            "subject": relation.written(fact_or_prompts.subject),
            "relation": relation.base,
            "joiner": relation.joiner,
        }
    else:
        prompts = tuple(fact_or_prompts)
    return tuple(Generated(name, state, prompts, tuple(answers), match, max_tokens, stop, **words) for state in states)


def perplexity(name: str, texts: Iterable[str], *states: str) -> tuple[Perplexity, ...]:
    """Return the probes of how well the model predicts whole texts, in each of ``states``."""
    whole = tuple(texts)
    return tuple(Perplexity(name, state, whole) for state in states)


def divergence(name: str, prompts: Iterable[str], *states: str) -> tuple[Divergence, ...]:
    """Return the probes of how far the next token after each prompt is from the base model's, in each of ``states``."""
    asked = tuple(prompts)
    return tuple(Divergence(name, state, asked) for state in states)


def program_of(
    case: Case,
    edits: Iterable[Edit],
    probes: Iterable[AnyProbe],
    states: Mapping[str, tuple[int, ...]] = STATES,
) -> Program:
    """Return a program whose steps are one edit each, with the states that the probes need.

    Args:
        states: by name, which edits are applied, in which order; the usual ones, or a kind's own.
    """
    asked = tuple(probes)
    needed = {probe.state for probe in asked}
    return Program(
        case_id=case.id,
        steps=tuple((_request(case, edit),) for edit in edits),
        states=tuple(State(name, steps) for name, steps in states.items() if name in needed),
        probes=asked,
        held=tuple(_held_question(case, held) for held in case.held),
    )


def _held_question(case: Case, held: HeldFact) -> HeldQuestion:
    prompts = case.questions(held.fact)
    return HeldQuestion(
        name=held.name,
        prompts=prompts if held.share > 0.0 else prompts[:1],
        object=held.fact.object,
        candidates=held.candidates,
        scores=held.scores,
        share=held.share,
        joiner=case.relation(held.fact.relation).joiner,
        not_rivals=held.not_rivals,
    )


def _request(case: Case, edit: Edit) -> EditRequest:
    relation = case.relation(edit.relation)
    return EditRequest(
        prompt=relation.prompt,
        subject=relation.written(edit.subject),
        target_new=edit.new_object,
        target_true=edit.object,
        relation=relation.base,
        joiner=relation.joiner,
    )
