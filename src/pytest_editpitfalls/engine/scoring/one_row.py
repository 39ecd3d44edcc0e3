"""Edited models of somebody's own that say that their rows are independent: one row of each is asked alone, too."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch

from pytest_editpitfalls.engine.overlay import EditedModel, Replacement
from pytest_editpitfalls.errors import UntrustedEditor

from .questions import Question
from .scorer import Scorer

MOST_MODELS = 8
"""Edited models of one batch that are asked a second time; the others are of the same make."""


def rounding(dtype: torch.dtype) -> float:
    """Largest difference of two log-probabilities, relative to the larger of 1 and their size, that is rounding."""
    return 0.2 if dtype in (torch.float16, torch.bfloat16) else 1e-3


def check_one_row(
    scorer: Scorer,
    models: Sequence[EditedModel],
    questions: Sequence[Question],
    values: Sequence[float],
) -> None:
    """Ask one question alone of each edited model that somebody else's code answers.

    Args:
        values: what they answered together, one for each question.

    Raises:
        UntrustedEditor: one answers otherwise.
    """
    claims = [index for index, model in enumerate(models) if _claims_independent_rows(model)][:MOST_MODELS]
    for model in claims:
        asked = [place for place, question in enumerate(questions) if question.model == model]
        if not asked or len(asked if _is_alone(models[model]) else questions) < 2:
            continue
        place = asked[zlib.crc32(repr(questions[asked[0]]).encode()) % len(asked)]
        question = questions[place]
        (alone,) = scorer.mean_log_probs([models[model]], [Question(0, question.prompt, question.target)])
        together = values[place]
        if not abs(alone - together) <= rounding(scorer.dtype) * max(1.0, abs(alone)):  # NaN is a difference, too
            raise UntrustedEditor(
                f"the edited model answers a row by what else is in the batch: asked alone a target has log p "
                f"{alone:.3f}, beside other questions {together:.3f}",
                fix="leave independent_rows=True out of @in_place_editor (each row then has a pass of its own); in a "
                "Change of your own, answer each row by that row alone",
            )


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
