"""What is true: facts, the relations that put them into words, and the rules that derive one fact from others."""

from .facts import KnownFact, Thing
from .knowledge import DOMINANCE, Knowledge, load_knowledge
from .relations import KnownRelation, Relations, read_relations
from .rules import Rule, read_rules

__all__ = [
    "DOMINANCE",
    "Knowledge",
    "KnownFact",
    "KnownRelation",
    "Relations",
    "Rule",
    "Thing",
    "load_knowledge",
    "read_relations",
    "read_rules",
]
