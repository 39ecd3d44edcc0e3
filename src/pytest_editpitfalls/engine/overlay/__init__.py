"""Edited models as changes to the base model, and their application row by row."""

from .change import Change, EditedModel, ForwardHook, Replacement, RowContext, Stacked, not_finite
from .dense import DenseDelta
from .difference import ModelDifference
from .low_rank import LowRankDelta, low_rank_hook
from .overlay import Overlay
from .prefix import PromptPrefix, prefix_of

__all__ = [
    "Change",
    "DenseDelta",
    "EditedModel",
    "ForwardHook",
    "LowRankDelta",
    "ModelDifference",
    "Overlay",
    "PromptPrefix",
    "Replacement",
    "RowContext",
    "Stacked",
    "low_rank_hook",
    "not_finite",
    "prefix_of",
]
