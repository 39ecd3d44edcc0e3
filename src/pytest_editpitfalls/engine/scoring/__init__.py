"""How likely edited models find targets after prompts: many prompts, targets and models in few passes."""

from .one_row import check_one_row
from .questions import Question
from .scorer import Scorer

__all__ = ["Question", "Scorer", "check_one_row"]
