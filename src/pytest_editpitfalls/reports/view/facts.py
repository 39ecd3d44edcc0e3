"""A case's facts in words: what was asked, how likely it is in which state, and which of many lost most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import FactProbabilities
from pytest_editpitfalls.pitfalls import FactWords
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import STATE_WORDS, STATES
from pytest_editpitfalls.results.records import FactRecord

from .words import plain

BASE = "0"
"""The state of the model before any edit."""


UNITS: Mapping[Measure, tuple[str, str]] = MappingProxyType(
    {
        "probability": ("", ""),
        "said": ("said: ", " of the prompts"),
        "perplexity": ("perplexity ", ""),
        "divergence": ("next token apart: ", " nats"),
    }
)
"""What stands before and behind a fact's values, so that none is taken for a probability that is none."""

WORSE: Mapping[Measure, str] = MappingProxyType(
    {
        "probability": "less likely",
        "said": "said less often",
        "perplexity": "predicted worse",
        "divergence": "farther away",
    }
)
"""What those are that lost."""

CHARACTERS = 200
"""Of a generated text, in a story."""

BEGINNING = 60
"""Characters of a text that is asked for as a whole."""


@dataclass(frozen=True, slots=True)
class FactLine:
    """One fact with its values.

    Attributes:
        name: as in the record ("other:1").
        text: the fact as a sentence, escaped; its name where nobody put it into words.
        role: what it is to the case, escaped; "" where nobody says.
        means: state -> mean value over the prompts, in the order of tables.
        measure: what the values are.
        texts: state -> what the model said after the first prompt, escaped; empty where nothing was to be said.
    """

    name: str
    text: str
    role: str
    means: Mapping[str, float]
    measure: Measure = "probability"
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """What the fact is one of: "other" for "other:1"."""
        return self.name.partition(":")[0]

    @property
    def way(self) -> list[str]:
        """The states on the way from the base model through edit 1; all states where none is on it."""
        return [state for state in self.means if follows_edits(state)] or list(self.means)

    @property
    def lost(self) -> float:
        """How much worse it became on the way: less probable, less often said, less well predicted, farther away."""
        way = self.way
        lost = self.means[way[0]] - self.means[way[-1]]
        return lost if self.measure in ("probability", "said") else -lost

    def numbers(self, last: str) -> str:
        """Return its values on the way, named where they do not go from the base model to the state ``last``."""
        way = self.way
        named = way[0] != BASE or way[-1] != last
        shown = [f"{state_words(s)} {self.number(s)}" if named else self.number(s) for s in way]
        return f"{UNITS[self.measure][0]}{' -> '.join(shown)}{UNITS[self.measure][1]}"

    def number(self, state: str) -> str:
        """Return its value in a state."""
        return f"{self.means[state]:.0%}" if self.measure == "said" else plain(self.means[state])

    @property
    def sayings(self) -> list[str]:
        """What the model said in each state, one line each."""
        return [f"  {state_words(state)} it says: {text or '(nothing)'}" for state, text in self.texts.items()]


def fact_words(pitfall: AnyPitfall | None, fact: str) -> FactWords:
    """Return what a fact is called; one that nobody here knows stands for itself."""
    known = None if pitfall is None else pitfall.words_of(fact)
    return FactWords("", short=visible(fact)) if known is None else known


def state_words(state: str) -> str:
    """Return the heading of a state."""
    return STATE_WORDS.get(state, visible(state))


def ordered_states(states: Iterable[str]) -> list[str]:
    """Return the states in the order of tables: the usual ones, then a kind's own as they come."""
    found = dict.fromkeys(states)
    return [state for state in STATE_WORDS if state in found] + [s for s in found if s not in STATE_WORDS]


def follows_edits(state: str) -> bool:
    """Whether a state is on the way from the base model through edit 1; an edit alone is not."""
    return STATES.get(state, ())[:1] in ((), (0,))


def fact_lines(means: FactProbabilities, facts: Mapping[str, FactRecord], pitfall: AnyPitfall | None) -> list[FactLine]:
    """Return the facts that have a value, in the order of the record."""
    found: dict[str, dict[str, float]] = {}
    for (name, state), mean in means.items():
        found.setdefault(name, {})[state] = mean
    lines = []
    for name, by_state in found.items():
        known = facts.get(name)
        text = name if known is None else known.sentence
        whole = known is None or bool(known.object)  # a text of no object is named by its beginning
        role = (known and known.role) or fact_words(pitfall, name).text
        ordered = {state: by_state[state] for state in ordered_states(by_state)}
        measure = means.measures.get((name, next(iter(ordered))), "probability")
        said = {s: visible(means.texts[name, s][0], at_most=CHARACTERS) for s in ordered if (name, s) in means.texts}
        lines.append(
            FactLine(name, visible(text, at_most=None if whole else BEGINNING), visible(role), ordered, measure, said)
        )
    return lines


def fewer(lines: Sequence[FactLine], at_most: int) -> tuple[list[FactLine], list[str]]:
    """Return the facts to show, and what is said of the others.

    Of facts of one family ("other:0", "other:1", ...) that are too many, those that lost most are shown, the greatest
    loss first, in the place of the first of them.
    """
    families: dict[str, list[FactLine]] = {}
    for line in lines:
        families.setdefault(line.family, []).append(line)
    shown, remarks = [], []
    for members in families.values():
        # one more would take the line that says how many more
        if len(members) <= at_most + 1:
            shown += members
            continue
        by_loss = sorted(members, key=lambda line: -line.lost)
        shown += by_loss[:at_most]
        rest = by_loss[at_most:]
        role, less = rest[0].role, sum(line.lost > 0 for line in rest)
        remarks.append(
            f"and {len(rest)} more{f' ({role})' if role else ''}: {less} of them {WORSE[rest[0].measure]} than before"
        )
    return shown, remarks
