"""Second moments C = E[k k^T] of a down-projection's input: collected, cached, factorised (docs/second-moments.md)."""

from __future__ import annotations

from .second_moment import NullSpace, SecondMoment
from .second_moments import SAMPLED_LENGTH, TOKENS_PER_DIMENSION, SecondMoments

__all__ = ["SAMPLED_LENGTH", "TOKENS_PER_DIMENSION", "NullSpace", "SecondMoment", "SecondMoments"]
