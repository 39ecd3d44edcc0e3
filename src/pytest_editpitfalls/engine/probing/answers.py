"""All probes of a batch, of every form and of many edited models, answered together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pytest_editpitfalls.engine.generation import Continued, Generator, Prompt
from pytest_editpitfalls.engine.held import HeldAnswers, is_brief, written
from pytest_editpitfalls.engine.in_context import Window
from pytest_editpitfalls.engine.overlay import EditedModel, prefix_of
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import UnscorableCase
from pytest_editpitfalls.matching import matches
from pytest_editpitfalls.probes import AnyProbe, Generated, Perplexity, Probe
from pytest_editpitfalls.program import HeldQuestion, ProbeScore, Program

from .divergence import Apart, divergences
from .one_row import OneRow

T = TypeVar("T")

_LARGEST = math.log(1e300)

Models = Mapping[tuple[int, ...], EditedModel]
"""The edited models of a program by the steps that made them."""


def unscorable(program: Program, encoder: Encoder, window: Window) -> str | None:
    """Return what the program needs that the model's tokenizer cannot write, or its positions have no room for."""
    try:
        for probe in program.probes:
            if isinstance(probe, Probe):
                encoder.target(probe.target, probe.joiner)
            for text in probe.inputs:
                (encoder.text if isinstance(probe, Perplexity) else encoder.prompt)(text)
        for step in program.steps:
            for request in step:
                encoder.target(request.target_new, request.joiner)
    except UnscorableCase as error:
        return str(error)
    return window.too_long(program)


@dataclass(frozen=True)
class Answered:
    """What is known of a program: its probes' values, and which of its held facts the base model holds."""

    probes: tuple[ProbeScore, ...]
    held_parts: Mapping[str, bool | None]


@dataclass
class _Lists:
    """What is asked of all edited models, by how it is asked, and then the answers in the same order."""

    questions: list[Question] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    apart: list[Apart] = field(default_factory=list)


@dataclass
class _Found:
    """The answers, in the order in which they were asked."""

    log_probs: Iterator[float]
    said: Iterator[Continued]
    apart: Iterator[float]


Reading = Callable[[_Found], ProbeScore]
"""Takes a probe's answers."""


@dataclass(frozen=True)
class Probing:
    """What answers the probes of a batch.

    Attributes:
        held: answers the held questions that take passes of their own.
    """

    scorer: Scorer
    encoder: Encoder
    held: HeldAnswers

    def answers(self, programs: Sequence[Program], models_of: Sequence[Models]) -> list[Answered]:
        """Return the answers of each program; nothing is answered where anything raises.

        Raises:
            UntrustedEditor: an edited model answers a row by what else is in the batch.
        """
        asked = _Lists()
        models: list[EditedModel] = [()]  # the base model is one model for all cases
        places: dict[int, int] = {}  # of edited models, which programs may share
        readings: list[list[Reading]] = []
        held_readings: list[Callable[[_Found], dict[str, bool | None]]] = []
        for program, known in zip(programs, models_of, strict=True):
            by_state: dict[str, tuple[int, str]] = {}
            for state in program.states:
                model = known[state.steps]
                if model and id(model) not in places:
                    models.append(model)
                    places[id(model)] = len(models) - 1
                by_state[state.name] = (places[id(model)] if model else 0, prefix_of(model))
            readings.append([self._ask(asked, probe, *by_state[probe.state]) for probe in program.probes])
            held_readings.append(self._ask_held(asked, [held for held in program.held if is_brief(held)]))
        log_probs = self.scorer.mean_log_probs(models, asked.questions)
        generator = Generator(self.scorer.forward, max_tokens=self.scorer.max_tokens)
        words = self.scorer.forward.host.vocabulary
        check = OneRow(self.scorer, generator, models)
        check.check_probabilities(asked.questions, log_probs)
        said = generator.continued(models, asked.prompts)
        check.check_texts(asked.prompts, said)
        apart = divergences(generator, models, asked.apart, words)
        check.check_divergences(asked.apart, apart, words)
        found = _Found(iter(log_probs), iter(said), iter(apart))
        long = [held for program in programs for held in program.held if not is_brief(held)]
        searched = dict(zip(map(id, long), self.held.holds(long), strict=True))
        answers = []
        for program, of_probes, of_held in zip(programs, readings, held_readings, strict=True):
            probes = tuple(reading(found) for reading in of_probes)
            parts = {held.name: searched[id(held)] for held in program.held if id(held) in searched}
            parts |= of_held(found)
            answers.append(Answered(probes, {held.name: parts[held.name] for held in program.held}))
        return answers

    def _ask(self, asked: _Lists, probe: AnyProbe, model: int, prefix: str) -> Reading:
        """Ask a probe of an edited model; returns how to take its answers."""
        encoder, count = self.encoder, len(probe.inputs)
        if isinstance(probe, Probe):
            target = encoder.target(probe.target, probe.joiner)
            asked.questions += [Question(model, encoder.prompt(prefix + text), target) for text in probe.prompts]
            return lambda found: ProbeScore(
                probe.fact,
                probe.state,
                tuple(math.exp(value) for value in _take(found.log_probs, count)),
                len(target),
            )
        if isinstance(probe, Perplexity):
            asked.questions += [Question(model, *encoder.text(text, prefix)) for text in probe.texts]
            return lambda found: ProbeScore(
                probe.fact,
                probe.state,
                tuple(_perplexity(value) for value in _take(found.log_probs, count)),
                measure=probe.measure,
            )
        if isinstance(probe, Generated):
            asked.prompts += [
                Prompt(model, encoder.prompt(prefix + text), probe.max_tokens, probe.stop) for text in probe.prompts
            ]
            return lambda found: _said(probe, _take(found.said, count))
        asked.apart += [Apart(model, encoder.prompt(prefix + text), encoder.prompt(text)) for text in probe.prompts]
        return lambda found: ProbeScore(
            probe.fact, probe.state, tuple(_take(found.apart, count)), measure=probe.measure
        )

    def _ask_held(self, asked: _Lists, held: Sequence[HeldQuestion]) -> Callable[[_Found], dict[str, bool | None]]:
        """Ask brief held questions of the base model."""
        candidates = [written(self.encoder, each) for each in held]
        for each, targets in zip(held, candidates, strict=True):
            asked.questions += [Question(0, self.encoder.prompt(each.prompts[0]), target) for target in targets]

        def reading(found: _Found) -> dict[str, bool | None]:
            parts: dict[str, bool | None] = {}
            for each, targets in zip(held, candidates, strict=True):
                scores = _take(found.log_probs, len(targets))
                parts[each.name] = all(scores[0] > other for other in scores[1:]) if scores else None
            return parts

        return reading


def _take(values: Iterator[T], count: int) -> list[T]:
    return [next(values) for _ in range(count)]


def _perplexity(mean_log_prob: float) -> float:
    """``exp(-mean_log_prob)``; a broken model's may be more than a float holds, and is then the most that it holds."""
    return math.exp(min(-mean_log_prob, _LARGEST)) if math.isfinite(mean_log_prob) else math.nan


def _said(probe: Generated, said: Sequence[Continued]) -> ProbeScore:
    """Whether each text gives an answer; NaN where the model's logits were not finite."""
    values = tuple(
        float(matches(each.text, probe.answers, probe.match)) if each.is_finite else math.nan for each in said
    )
    return ProbeScore(probe.fact, probe.state, values, measure=probe.measure, texts=tuple(each.text for each in said))
