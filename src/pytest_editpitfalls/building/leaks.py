"""Whether a case gives its answers away."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.cases.leaks import leaks


def leak_of(relation: Relation, subject: str, labels: Iterable[str]) -> str | None:
    """Return what gives one of the labels away: the subject, or the words of a prompt; None where nothing does.

    The rule is `pytest_editpitfalls.cases.leaks`: whole words and first letters, both ways.
    """
    for label in labels:
        if leaks(subject, label) or leaks(label, subject):
            return f"the subject gives an object away ({relation.label})"
        if _in_words(relation, label):
            return f"a prompt gives an object away ({relation.label})"
    return None


@lru_cache(maxsize=1 << 16)
def _in_words(relation: Relation, label: str) -> bool:
    """Whether a prompt's own words do; whole words alone, as first letters are common to too many words."""
    prompts = (prompt.replace("{}", "") for prompt in (relation.prompt, *relation.paraphrases))
    return any(leak.how != "first letters" for prompt in prompts for leak in leaks(prompt, label))
