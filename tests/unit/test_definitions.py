"""Digests of metric definitions: a further pitfall leaves those of the others alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_editpitfalls.pitfalls import _definitions, _neutral_texts, definitions_digest, same_definitions
from pytest_editpitfalls.pitfalls._registry import PITFALLS


def test_each_kind_has_its_digest() -> None:
    both = definitions_digest(["reverse", "coverage", "reverse"])
    assert both.split() == [definitions_digest([kind]) for kind in ("coverage", "reverse")]
    assert same_definitions(both, definitions_digest(["coverage"]))
    assert same_definitions(definitions_digest(["reverse"]), definitions_digest(["coverage"]))


def test_what_is_defined_otherwise_is_not_the_same() -> None:
    now = definitions_digest(["coverage", "reverse"])
    assert not same_definitions(now, now.replace("reverse:", "reverse:f"))
    assert same_definitions(definitions_digest(["coverage"]), now.replace("reverse:", "reverse:f"))


def test_other_fixed_texts_are_another_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {kind: definitions_digest([kind]) for kind in ("collapse", "lifelong", "coverage")}
    others = _neutral_texts.DIGEST[::-1]
    monkeypatch.setattr(_definitions, "DIGEST", others, raising=False)
    for kind in ("collapse", "lifelong"):
        metrics = [
            replace(metric, definition=metric.definition.replace(_neutral_texts.DIGEST, others))
            for metric in PITFALLS.get(kind).metrics
        ]
        monkeypatch.setattr(PITFALLS.get(kind), "metrics", tuple(metrics))
        assert definitions_digest([kind]) != now[kind]
    assert definitions_digest(["coverage"]) == now["coverage"]


def test_the_earlier_form_is_another_definition() -> None:
    assert not same_definitions("0123456789abcdef", definitions_digest(["coverage"]))
    assert not same_definitions("0123456789abcdef", "fedcba9876543210")
    assert same_definitions("0123456789abcdef", "0123456789abcdef")
