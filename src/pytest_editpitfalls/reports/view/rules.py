"""Rules, the groups of a suite's cases, in words: relations by their labels in the place of their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import CaseRecord

_BETWEEN: Mapping[str, str] = {">": " → ", "&": " and "}


def rules_in_words(cases: Iterable[CaseRecord]) -> dict[str, str]:
    """Return rule -> the rule in words: "capital → capital of" for "P36>P1376".

    The labels are those of the facts that the cases ask. Where no label is known, the rule stands for itself; where two
    rules have the same words, each has its id behind them.
    """
    labels: dict[str, str] = {}
    rules: dict[str, None] = {}
    for case in cases:
        rules.setdefault(case.rule)
        for fact in case.facts.values():
            if fact.label:
                labels.setdefault(fact.relation, fact.label)
    found = {rule: _words(rule, labels) for rule in rules}
    said = Counter(found.values())
    return {rule: visible(text if said[text] == 1 else f"{text} [{rule}]") for rule, text in found.items()}


def _words(rule: str, labels: Mapping[str, str]) -> str:
    """A rule, and what it is told apart by behind an "@" in parentheses; "1-N@P37" is about its relation."""
    main, _, apart = rule.partition("@")
    # a part is a relation, alone or with words behind it ("P30 of the new object")
    parts = [part.partition(" ") for part in re.split(r"([>&])", main)]
    text = "".join(f"{_BETWEEN.get(name) or labels.get(name, name)}{space}{more}" for name, space, more in parts)
    if not apart:
        return text
    known = labels.get(apart)
    if known is not None and not any(name in labels for name, _, _ in parts):
        return f"{known} ({text})"
    return f"{text} ({known or apart})"
