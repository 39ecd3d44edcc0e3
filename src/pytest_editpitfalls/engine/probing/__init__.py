"""Every form of probe to its value: how likely, what is said, how well predicted, how far from the base model."""

from .answers import Answered, Probing, unscorable

__all__ = ["Answered", "Probing", "unscorable"]
