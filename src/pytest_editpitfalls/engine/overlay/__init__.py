"""Edited models as changes to the base model, and their application row by row."""

from .change import (
    Change,
    EditedModel,
    ForwardHook,
    PromptPrefix,
    Replacement,
    RowContext,
    Stacked,
    not_finite,
    prefix_of,
    without,
)
from .dense import DenseDelta
from .difference import ModelDifference
from .folded import FoldedDelta, break_even, folded
from .low_rank import LowRankDelta, low_rank_hook
from .overlay import Overlay

__all__ = [
    "Change",
    "DenseDelta",
    "EditedModel",
    "FoldedDelta",
    "ForwardHook",
    "LowRankDelta",
    "ModelDifference",
    "Overlay",
    "PromptPrefix",
    "Replacement",
    "RowContext",
    "Stacked",
    "break_even",
    "folded",
    "low_rank_hook",
    "not_finite",
    "prefix_of",
    "without",
]
