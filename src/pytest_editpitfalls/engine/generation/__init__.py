"""What edited models say: greedy continuations of many of them in one batch."""

from .generator import Continued, Generator, Prompt
from .text_ends import cut, is_over

__all__ = ["Continued", "Generator", "Prompt", "cut", "is_over"]
