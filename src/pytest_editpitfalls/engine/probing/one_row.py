"""Edited models of somebody's own that say that their rows are independent: one row of each is asked alone, too."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch

from pytest_editpitfalls.engine.generation import Continued, Generator, Prompt
from pytest_editpitfalls.engine.overlay import EditedModel, Replacement
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.errors import UntrustedEditor

from .divergence import Apart, divergences

MOST_MODELS = 8
"""Edited models of one batch that are asked a second time; the others are of the same make."""


class _Asked(Protocol):
    @property
    def model(self) -> int: ...


A = TypeVar("A", bound=_Asked)


def rounding(dtype: torch.dtype) -> float:
    """Largest difference of two log-probabilities, relative to the larger of 1 and their size, that is rounding."""
    return 0.2 if dtype in (torch.float16, torch.bfloat16) else 1e-3


@dataclass(frozen=True)
class OneRow:
    """Asks edited models that somebody else's code answers for one row alone, in each way in which a batch asked them.

    Attributes:
        models: the edited models of the batch; number 0 is the base model.
    """

    scorer: Scorer
    generator: Generator
    models: Sequence[EditedModel]

    def check_probabilities(self, questions: Sequence[Question], values: Sequence[float]) -> None:
        """Ask one question of each; ``values`` are the mean log-probabilities of all, asked together.

        Raises:
            UntrustedEditor: one answers otherwise.
        """
        for place in self._places(questions):
            question = questions[place]
            alone, together = self._log_prob(question), values[place]
            if self._differ(alone, together):
                raise _mixes(
                    f"asked alone a target has log p {alone:.3f}, beside other questions {together:.3f}",
                )

    def check_texts(self, prompts: Sequence[Prompt], said: Sequence[Continued]) -> None:
        """Let each continue one prompt; ``said`` is what all said together.

        Where two tokens are as likely, up to rounding, either may be said.

        Raises:
            UntrustedEditor: one says something else.
        """
        for place in self._places(prompts, in_rows=True):
            prompt, together = prompts[place], said[place]
            (alone,) = self.generator.continued([self.models[prompt.model]], [replace(prompt, model=0)])
            if (alone.tokens, alone.is_finite) == (together.tokens, together.is_finite):
                continue
            pairs = zip(alone.tokens, together.tokens, strict=False)
            same = next((number for number, (one, other) in enumerate(pairs) if one != other), None)
            if same is not None and alone.is_finite and together.is_finite:
                before = (*prompt.tokens, *alone.tokens[:same])
                words = [Question(prompt.model, before, (each.tokens[same],)) for each in (alone, together)]
                if not self._differ(*map(self._log_prob, words)):
                    continue
            raise _mixes(f"asked alone it says {_shown(alone)}, beside other prompts {_shown(together)}")

    def check_divergences(self, asked: Sequence[Apart], values: Sequence[float], words: int) -> None:
        """Ask one divergence of each; ``values`` are those of all, asked together, ``words`` the vocabulary's size.

        Raises:
            UntrustedEditor: one answers otherwise.
        """
        for place in self._places(asked, in_rows=True):
            each, together = asked[place], values[place]
            (alone,) = divergences(self.generator, [(), self.models[each.model]], [replace(each, model=1)], words)
            if self._differ(alone, together):
                raise _mixes(f"asked alone it is {alone:.4g} nats from the base model, beside others {together:.4g}")

    def _places(self, asked: Sequence[A], *, in_rows: bool = False) -> Iterator[int]:
        """Give the place of one row of each model that says that its rows are independent, where it had company.

        Args:
            in_rows: the generator asked, which gives a model with rows of its own one at a time in any case.
        """
        claims = [index for index, model in enumerate(self.models) if _claims_independent_rows(model)][:MOST_MODELS]
        for model in claims:
            if in_rows and any(change.whole_rows for change in self.models[model] if isinstance(change, Replacement)):
                continue
            places = [place for place, each in enumerate(asked) if each.model == model]
            if places and len(places if _is_alone(self.models[model]) else asked) > 1:
                yield places[zlib.crc32(repr(asked[places[0]]).encode()) % len(places)]

    def _log_prob(self, question: Question) -> float:
        """The mean log-probability of a question's target, asked alone."""
        (found,) = self.scorer.mean_log_probs([self.models[question.model]], [replace(question, model=0)])
        return found

    def _differ(self, alone: float, together: float) -> bool:
        """Whether two values differ by more than rounding; NaN is a difference, too."""
        return not abs(alone - together) <= rounding(self.scorer.dtype) * max(1.0, abs(alone))


def _mixes(how: str) -> UntrustedEditor:
    return UntrustedEditor(
        f"the edited model answers a row by what else is in the batch: {how}",
        fix="leave independent_rows=True out of @in_place_editor (each row then has a pass of its own); in a "
        "Change of your own, answer each row by that row alone",
    )


def _shown(said: Continued) -> str:
    return repr(said.text) if said.is_finite else "nothing (its logits are not finite)"


def _is_alone(model: EditedModel) -> bool:
    """Whether rows of other models are in no pass with its own."""
    return any(isinstance(change, Replacement) for change in model)


def _claims_independent_rows(model: EditedModel) -> bool:
    """Whether somebody else's code answers its rows, and several of them at once."""
    own = __name__.partition(".")[0]
    for change in model:
        if isinstance(change, Replacement):
            if change.whole_rows and change.independent_rows:
                return True
        elif type(change).__module__.partition(".")[0] != own:
            return True
    return False
