"""The case files that ship: complete, consistent, true, and with prompts of their own."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "suites"
SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", ROOT.parent / "shared"))
KINDS = {
    "reverse": "reverse",
    "composite": "composite",
    "coverage": "coverage",
    "easy": "round",
    "hard": "round",
}
ROUND = ("easy", "hard")


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


RELATIONS = read_toml("relations.toml")
RULES = {(suite, rule["id"]): rule for rule in read_toml("rules.toml")["rule"] for suite in rule["suites"]}
FACTS = {(fact["relation"], fact["subject"]): fact for fact in read_lines("facts.jsonl")}
CASES = {suite: read_lines(f"{suite}.jsonl") for suite in KINDS}
EACH = [pytest.param(suite, case, id=f"{suite}-{case['id']}") for suite in KINDS for case in CASES[suite]]


def forbidden(relation: str, subject: str) -> set[str]:
    """Objects that are true or nearly true of the subject, as far as facts.jsonl knows."""
    fact = FACTS.get((relation, subject), {})
    return {*fact.get("objects", ()), *fact.get("never", ())}


@pytest.mark.parametrize("relation", RELATIONS)
def test_relation_has_a_prompt_and_ten_other_ways_to_ask(relation: str) -> None:
    entry = RELATIONS[relation]
    prompts = [entry["prompt"], *entry["paraphrases"]]
    assert entry["label"]
    assert len(set(entry["paraphrases"])) >= 10
    assert len(set(prompts)) == len(prompts)
    for prompt in prompts:
        assert prompt.count("{") == prompt.count("}") == prompt.count("{}") == 1, prompt
        assert prompt == prompt.strip(), prompt
    # Subjects at the very start of a prompt sit on an attention sink: the rewrite prompt avoids that.
    assert not entry["prompt"].startswith("{}")
    assert any(prompt.startswith(("{}", "The {}")) for prompt in entry["paraphrases"])


def test_every_relation_of_a_fact_or_rule_has_prompts() -> None:
    used = {relation for relation, _ in FACTS}
    used |= {rule[role] for rule in RULES.values() for role in ("first", "second", "tied") if role in rule}
    assert used == set(RELATIONS)


@pytest.mark.parametrize("suite", KINDS)
def test_header(suite: str) -> None:
    header = read_toml(f"{suite}.toml")
    assert header["format"] == 1
    assert (header["name"], header["kind"], header["license"]) == (suite, KINDS[suite], "MIT")
    assert header["provenance"]
    assert header["thresholds"]
    assert (DATA / header["relations"]).is_file()
    assert (DATA / header["cases"]).is_file()


@pytest.mark.parametrize("suite", KINDS)
def test_suite_is_large_and_diverse(suite: str) -> None:
    cases = CASES[suite]
    assert 40 <= len(cases) <= 60
    assert len({case["id"] for case in cases}) == len(cases)
    bases = Counter((case["edits"][0]["relation"], case["edits"][0]["subject"]) for case in cases)
    for of in (
        Counter(case["rule"] for case in cases),
        Counter(case["edits"][0]["relation"] for case in cases),
    ):
        assert len(of) >= 3
        assert max(of.values()) <= len(cases) / 2
    if suite not in ROUND:
        # A subject of edit 1 may come back only in a composite case with another tied fact.
        assert suite == "composite" or max(bases.values()) == 1


@pytest.mark.parametrize(("suite", "case"), EACH)
def test_edits_follow_the_rule(suite: str, case: dict[str, Any]) -> None:
    rule = RULES[suite, case["rule"]]
    first, *rest = case["edits"]
    assert case["id"].rpartition("-")[0] == first["relation"] == rule["first"]
    assert first["object"] in FACTS[first["relation"], first["subject"]]["objects"]
    if suite in ROUND:
        assert rest == []
        true = case["true_objects"]
        assert 2 <= len(true) <= 10
        assert len(set(true)) == len(true)
        assert true == FACTS[first["relation"], first["subject"]]["objects"]
        return
    (second,) = rest
    if suite == "reverse":
        assert second["relation"] == rule["second"]
        assert (second["subject"], second["object"]) == (first["new_object"], first["subject"])
        # Nothing comes true by accident: edit 2's new object does not have edit 1's new object.
        assert first["new_object"] not in forbidden(first["relation"], second["new_object"])
    elif suite == "composite":
        tied = case["tied"]
        assert (tied["relation"], second["relation"]) == (rule["tied"], rule["second"])
        assert tied["object"] == first["subject"]
        assert tied["object"] in FACTS[tied["relation"], tied["subject"]]["objects"]
        assert second["subject"] == tied["subject"]
        assert second["object"] == first["object"]
        assert second["object"] in FACTS[second["relation"], second["subject"]]["objects"]
        assert len({first["object"], first["new_object"], second["new_object"]}) == 3
    else:
        assert (second["relation"], second["subject"]) == (first["relation"], first["subject"])
        assert second["object"] == first["new_object"]
        assert len({first["object"], first["new_object"], second["new_object"]}) == 3


@pytest.mark.parametrize(("suite", "case"), EACH)
def test_new_objects_are_false(suite: str, case: dict[str, Any]) -> None:
    for edit in case["edits"]:
        assert edit["new_object"] not in forbidden(edit["relation"], edit["subject"]), edit
        assert edit["new_object"] not in (edit["object"], edit["subject"])
        for text in (edit["subject"], edit["object"], edit["new_object"]):
            assert text == text.strip()
            assert text
            assert not set("{}") & set(text)
    assert not {case["edits"][0]["new_object"]} & set(case.get("true_objects", ()))


@pytest.mark.parametrize("suite", KINDS)
def test_every_base_fact_has_rivals(suite: str) -> None:
    """ "Held" must be able to fail: another case's object, false here, competes."""
    base = [
        (fact, set(case.get("true_objects", ())))
        for case in CASES[suite]
        for fact in [case["edits"][0], *([case["tied"]] if "tied" in case else [])]
    ]
    objects: dict[str, set[str]] = {}
    for fact, _ in base:
        objects.setdefault(fact["relation"], set()).add(fact["object"])
    for fact, true in base:
        assert objects[fact["relation"]] - true - {fact["object"]}, fact
        assert f" {fact['object']} " not in f" {fact['subject']} ", fact


def test_easy_and_hard_share_no_edited_object() -> None:
    edited = {
        suite: {tuple(case["edits"][0][key] for key in ("relation", "subject", "object")) for case in CASES[suite]}
        for suite in ROUND
    }
    assert not edited["easy"] & edited["hard"]


def test_prompts_are_not_the_published_ones() -> None:
    files = sorted(SHARED.glob("data/pitfalls/*/*_prompts.json"))
    if not files:
        pytest.skip("the benchmark's published prompt files are not here (EDITPITFALLS_SHARED)")
    published: dict[str, set[str]] = {}
    for file in files:
        for relation, prompts in json.loads(file.read_text(encoding="utf-8")).items():
            published.setdefault(relation, set()).update(prompt.strip() for prompt in prompts)
    assert set(published) & set(RELATIONS)
    copied = [
        (relation, prompt)
        for relation, entry in RELATIONS.items()
        for prompt in [entry["prompt"], *entry["paraphrases"]]
        if prompt in published.get(relation, set())
    ]
    assert copied == []
