"""How likely edited models find targets after prompts: many prompts, targets and models in few passes."""

from .questions import Question
from .scorer import Scorer

__all__ = ["Question", "Scorer"]
