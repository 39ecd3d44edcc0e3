"""Bystanders: does an edit leave the facts around it as likely as they were?"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from pytest_editpitfalls.pitfalls import (
    Case,
    Edit,
    Fact,
    FactProbabilities,
    FactWords,
    Metric,
    Pitfall,
    Program,
    Row,
    Topic,
    ask,
    edit_success,
    program_of,
)


class BystandersRow(Row):
    """One edit, and facts that it should not touch."""

    edits: tuple[Edit]
    bystanders: Annotated[tuple[Fact, ...], Field(min_length=1)]

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        places = {f"bystanders.{place}": fact for place, fact in enumerate(self.bystanders)}
        return {**super().named_facts(), **places}

    def base_facts(self) -> Iterator[Fact]:
        yield from (*super().base_facts(), *self.bystanders)


def unharmed(p: FactProbabilities) -> float | None:
    """The share of bystanders that keep nine tenths of their probability."""
    names = {fact for fact, _ in p if fact.startswith("bystander:")}
    if not names or not all((name, state) in p for name in names for state in "01"):
        return None
    return sum(p[name, "1"] >= 0.9 * p[name, "0"] for name in names) / len(names)


class Bystanders(Pitfall[BystandersRow]):
    name = "bystanders"
    question = "Are the facts around an edit as likely as before?"
    topic = Topic("bystanders", "Bystanders")
    row = BystandersRow
    written, replaced = "new", "true"
    facts = {
        "new": FactWords("what the edit writes", "new object"),
        "true": FactWords("what the edit replaces", "true object"),
        "bystander": FactWords("a fact that nobody edited", "bystanders"),
    }
    metrics = (
        *edit_success(written, replaced),
        Metric(
            name="unharmed",
            title="Unharmed",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition="share of bystanders with p1 >= 0.9 p0",
            source="this package",
            compute=unharmed,
            question="The share of facts nearby that stay about as likely as they were.",
        ),
    )
    thresholds = ("unharmed >= 0.5",)
    columns = ("es", "ps", "unharmed")

    def program(self, case: Case, row: BystandersRow) -> Program:
        (edit,) = row.edits
        probes = ask(case, "new", edit.after, "1") + ask(case, "true", edit.before, "0", "1")
        for place, fact in enumerate(row.bystanders):
            probes += ask(case, f"bystander:{place}", fact, "0", "1")
        return program_of(case, row.edits, probes)
