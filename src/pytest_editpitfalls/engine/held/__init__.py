"""Which facts the base model holds: an object against every rival, however many there are."""

from .answers import HeldAnswers, is_brief, written
from .memory import HeldMemory
from .vectors import object_vectors

__all__ = ["HeldAnswers", "HeldMemory", "is_brief", "object_vectors", "written"]
