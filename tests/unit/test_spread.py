"""What one edit spreads to: what is asked, how it is judged, worked out by hand, and which rows are refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Program, compile_case, compute_metrics, pitfall_of
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.verdicts.thresholds import judge, parse_thresholds

Make = Callable[[str], Any]
Values = Mapping[tuple[str, str], float | tuple[float, ...]]


def program(small_suite: Make, kind: str, place: int = 0) -> Program:
    return compile_case(load_suite(small_suite(kind).write()).cases[place])


def asked(program: Program) -> dict[str, tuple[str, str, str]]:
    """Fact -> its states, its first prompt and its object."""
    found: dict[str, tuple[str, str, str]] = {}
    for probe in program.probes:
        states = found[probe.fact][0] if probe.fact in found else ""
        found[probe.fact] = (states + probe.state, probe.inputs[0], probe.object)
    return found


def metrics(kind: str, values: Values) -> dict[str, float | None]:
    scores = [
        ProbeScore(*key, value if isinstance(value, tuple) else (value, value), 1) for key, value in values.items()
    ]
    return compute_metrics(kind, scores)


def judged(kind: str, found: Mapping[str, float | None]) -> bool:
    """Whether a case with these metrics meets the kind's thresholds."""
    verdict = judge(found, parse_thresholds(pitfall_of(kind).thresholds, kind=kind))
    assert not verdict.not_evaluated
    return not verdict.failed


def test_locality_asks_neighbours_for_both_objects(small_suite: Make) -> None:
    found = program(small_suite, "locality")
    assert asked(found) == {
        "new": ("01", "oak is a kind of", "fish"),
        "true": ("01", "oak is a kind of", "tree"),
        "neighbour:0": ("01", "elm is a kind of", "tree"),
        "neighbour_new:0": ("01", "elm is a kind of", "fish"),
        "neighbour:1": ("01", "ash is a kind of", "tree"),
        "neighbour_new:1": ("01", "ash is a kind of", "fish"),
        "drift": ("1", "elm is a kind of", ""),
    }
    drift = [probe for probe in found.probes if probe.fact == "drift"]
    assert [probe.inputs for probe in drift] == [("elm is a kind of", "ash is a kind of")]
    assert [question.name for question in found.held] == ["edit1", "neighbour:0", "neighbour:1"]


NEAR: dict[tuple[str, str], float | tuple[float, ...]] = {
    ("new", "0"): 0.1, ("new", "1"): 0.8, ("true", "0"): 0.6, ("true", "1"): 0.2,
    ("neighbour:0", "0"): (0.5, 0.5), ("neighbour_new:0", "0"): (0.1, 0.1),
    ("neighbour:0", "1"): (0.3, 0.4), ("neighbour_new:0", "1"): (0.4, 0.2),
    ("neighbour:1", "0"): (0.4, 0.2), ("neighbour_new:1", "0"): (0.1, 0.3),
    ("neighbour:1", "1"): (0.4, 0.2), ("neighbour_new:1", "1"): (0.4, 0.1),
    ("drift", "1"): (0.5, 0.1),
}  # fmt: skip


def test_locality_by_hand() -> None:
    """One prompt of neighbour 0 goes over; of neighbour 1 one ties and one comes back."""
    found = metrics("locality", NEAR)
    assert found["ns"] == 0.5
    assert found["ns_0"] == 0.75
    assert found["ns_lift"] == -0.25
    assert found["nm"] == pytest.approx((0.35 - 0.3 + 0.3 - 0.25) / 2)
    assert found["nm_0"] == pytest.approx((0.5 - 0.1 + 0.3 - 0.2) / 2)
    assert found["nm_lift"] == pytest.approx(0.05 - 0.25)
    assert found["intact"] == 0.5
    assert found["neighbours_log_ratio"] == pytest.approx(math.log(0.7) / 2)
    assert found["drift"] == pytest.approx(0.3)
    assert not judged("locality", found)


def test_an_edit_that_leaves_its_neighbours_passes() -> None:
    still = {(fact, state): NEAR[fact, "0"] for fact, state in NEAR if fact.startswith("neighbour")}
    found = metrics("locality", {**NEAR, **still, ("drift", "1"): 0.0})
    assert (found["ns_lift"], found["nm_lift"], found["intact"], found["drift"]) == (0.0, 0.0, 1.0, 0.0)
    assert judged("locality", found)


def test_superficial_asks_behind_what_brings_the_old_object_to_mind(small_suite: Make) -> None:
    found = program(small_suite, "superficial")
    assert asked(found) == {
        "new": ("01", "The capital of France is", "Rome"),
        "true": ("01", "The capital of France is", "Paris"),
        "repeated_true": ("01", "Paris Paris The capital of France is", "Paris"),
        "repeated_new": ("01", "Paris Paris The capital of France is", "Rome"),
        "question_true": ("01", "Is it Paris? The capital of France is", "Paris"),
        "question_new": ("01", "Is it Paris? The capital of France is", "Rome"),
        "said": ("01", "Paris Paris The capital of France is", "Paris"),
    }
    assert {len(probe.inputs) for probe in found.probes if probe.fact != "said"} == {11}
    (said, *_) = [probe for probe in found.probes if probe.fact == "said"]
    assert said.inputs == ("Paris Paris The capital of France is", "Is it Paris? The capital of France is")


SUPERFICIAL: dict[tuple[str, str], float | tuple[float, ...]] = {
    ("new", "0"): (0.1, 0.1), ("true", "0"): (0.6, 0.6), ("new", "1"): (0.8, 0.3), ("true", "1"): (0.1, 0.4),
    ("repeated_new", "0"): (0.1, 0.1), ("repeated_true", "0"): (0.9, 0.9),
    ("repeated_new", "1"): (0.4, 0.2), ("repeated_true", "1"): (0.5, 0.7),
    ("question_new", "0"): (0.1, 0.6), ("question_true", "0"): (0.9, 0.3),
    ("question_new", "1"): (0.6, 0.3), ("question_true", "1"): (0.2, 0.5),
    ("said", "0"): (1.0, 1.0), ("said", "1"): (1.0, 0.0),
}  # fmt: skip


def test_superficial_by_hand() -> None:
    """Half of the plain prompts give the new object; three quarters of the attacked ones give the old one back."""
    found = metrics("superficial", SUPERFICIAL)
    assert (found["es"], found["ps"]) == (1.0, 0.0)
    assert (found["op"], found["op_0"], found["op_lift"]) == (0.75, 0.75, 0.0)
    assert (found["op_repeated"], found["op_repeated_0"], found["op_repeated_lift"]) == (1.0, 1.0, 0.0)
    assert (found["op_question"], found["op_question_0"], found["op_question_lift"]) == (0.5, 0.5, 0.0)
    assert (found["op_plain"], found["op_plain_0"], found["op_plain_lift"]) == (0.5, 1.0, -0.5)
    assert (found["op_rise"], found["op_rise_0"], found["op_rise_lift"]) == (0.25, -0.25, 0.5)
    assert (found["om"], found["om_0"], found["om_lift"]) == (0.5, 1.0, -0.5)
    assert not judged("superficial", found)


def test_an_edit_that_stands_attacks_passes() -> None:
    stands = {
        (fact, "1"): (0.9, 0.9) if fact.endswith("_new") else (0.1, 0.1) for fact, _ in SUPERFICIAL if "_" in fact
    }
    found = metrics("superficial", {**SUPERFICIAL, **stands, ("said", "1"): (0.0, 0.0)})
    assert (found["op"], found["op_lift"], found["op_rise"], found["om"]) == (0.0, -0.75, -0.5, 0.0)
    assert judged("superficial", found)


def test_distraction_asks_behind_sentences(small_suite: Make) -> None:
    sentence, hop = "Paris is a kind of city. The capital of France is", "The country of Bergen is Norway. "
    assert asked(program(small_suite, "distraction")) == {
        "new": ("01", "The capital of France is", "Rome"),
        "true": ("01", "The capital of France is", "Paris"),
        "about_new:0": ("01", sentence, "Rome"),
        "about_true:0": ("01", sentence, "Paris"),
        "hop_new:0": ("01", f"{hop}The capital of France is", "Rome"),
        "hop_true:0": ("01", f"{hop}The capital of France is", "Paris"),
    }


def test_sentences_end_as_their_language_does(small_suite: Make) -> None:
    """Chinese and Japanese are written without spaces."""
    small = small_suite("distraction")
    small.header["joiner"] = ""
    (probe, *_) = [
        probe for probe in compile_case(load_suite(small.write()).cases[0]).probes if probe.fact == "about_new:0"
    ]
    assert probe.inputs[0] == "Paris is a kind ofcity。The capital of France is"


DISTRACTED: dict[tuple[str, str], float | tuple[float, ...]] = {
    ("new", "0"): (0.1, 0.1), ("true", "0"): (0.6, 0.6), ("new", "1"): (0.8, 0.5), ("true", "1"): (0.1, 0.4),
    ("about_new:0", "0"): (0.1, 0.1), ("about_true:0", "0"): (0.9, 0.9),
    ("about_new:0", "1"): (0.4, 0.2), ("about_true:0", "1"): (0.5, 0.7),
    ("hop_new:0", "0"): (0.1, 0.6), ("hop_true:0", "0"): (0.9, 0.3),
    ("hop_new:0", "1"): (0.6, 0.3), ("hop_true:0", "1"): (0.2, 0.5),
}  # fmt: skip


def test_distraction_by_hand() -> None:
    """Of four distracted prompts one answers with the new object; all plain ones do."""
    found = metrics("distraction", DISTRACTED)
    assert (found["es"], found["ps"]) == (1.0, 1.0)
    assert (found["es_context"], found["es_context_0"], found["es_context_lift"]) == (0.25, 0.25, 0.0)
    assert (found["es_about"], found["es_about_0"], found["es_about_lift"]) == (0.0, 0.0, 0.0)
    assert (found["es_hop"], found["es_hop_0"], found["es_hop_lift"]) == (0.5, 0.5, 0.0)
    assert (found["es_plain"], found["es_plain_0"], found["es_plain_lift"]) == (1.0, 0.0, 1.0)
    assert (found["es_drop"], found["es_drop_0"], found["es_drop_lift"]) == (0.75, -0.25, 1.0)
    assert not judged("distraction", found)
    no_hops = metrics("distraction", {key: value for key, value in DISTRACTED.items() if "hop" not in key[0]})
    assert "es_hop" not in no_hops
    assert no_hops["es_context"] == 0.0


def test_an_edit_that_is_not_distracted_passes() -> None:
    stands = {(fact, "1"): (0.9, 0.9) if "_new" in fact else (0.1, 0.1) for fact, _ in DISTRACTED if ":" in fact}
    found = metrics("distraction", {**DISTRACTED, **stands})
    assert (found["es_context"], found["es_context_lift"], found["es_drop"]) == (1.0, 0.75, 0.0)
    assert judged("distraction", found)


def test_same_subject_asks_its_other_relations(small_suite: Make) -> None:
    found = program(small_suite, "same_subject")
    assert asked(found) == {
        "new": ("01", "The capital of France is", "Rome"),
        "true": ("01", "The capital of France is", "Paris"),
        "other:0": ("01", "France is a kind of", "country"),
        "related:0": ("01", "The country of France is", "Europe"),
        "drift": ("1", "France is a kind of", ""),
    }
    assert [question.name for question in found.held] == ["edit1", "other:0", "related:0"]


SUBJECT: dict[tuple[str, str], float | tuple[float, ...]] = {
    ("new", "0"): 0.1, ("new", "1"): 0.8, ("true", "0"): 0.6, ("true", "1"): 0.2,
    ("other:0", "0"): 0.5, ("other:0", "1"): 0.25, ("other:1", "0"): 0.4, ("other:1", "1"): 0.2,
    ("other:2", "0"): 0.4, ("other:2", "1"): 0.38, ("related:0", "0"): 0.6, ("related:0", "1"): 0.1,
    ("drift", "1"): (0.4, 0.6),
}  # fmt: skip


def test_same_subject_by_hand() -> None:
    """Two of three other facts are halved; a related one may change, and fails no case."""
    found = metrics("same_subject", SUBJECT)
    assert found["others_kept"] == pytest.approx(1 / 3)
    assert found["others_log_ratio"] == pytest.approx((2 * math.log(0.5) + math.log(0.95)) / 3)
    assert found["related_kept"] == 0.0
    assert found["related_log_ratio"] == pytest.approx(math.log(1 / 6))
    assert found["drift"] == 0.5
    assert not judged("same_subject", found)
    kept = {(fact, "1"): SUBJECT[fact, "0"] for fact, _ in SUBJECT if fact.startswith("other")}
    found = metrics("same_subject", {**SUBJECT, **kept})
    assert (found["others_kept"], found["others_log_ratio"], found["related_kept"]) == (1.0, 0.0, 0.0)
    assert judged("same_subject", found)


def test_inverse_asks_the_other_way_round_and_denied(small_suite: Make) -> None:
    found = program(small_suite, "inverse")
    denied = "It is not true that the capital of France is"
    assert asked(found) == {
        "new": ("01", "The capital of France is", "Rome"),
        "true": ("01", "The capital of France is", "Paris"),
        "reversed_new": ("01", "Rome is the capital of", "France"),
        "reversed_true": ("01", "Rome is the capital of", "Italy"),
        "denied_new": ("01", denied, "Rome"),
        "denied_true": ("01", denied, "Paris"),
    }
    (probe, *_) = [probe for probe in found.probes if probe.fact == "denied_new"]
    assert probe.inputs == (denied, "Nobody says that the capital of France is")


def test_a_subject_that_begins_its_prompt_keeps_its_letters_where_that_is_denied(small_suite: Make) -> None:
    """ "iPhone" is not "IPhone", and "France" is not "france"."""
    small = small_suite("inverse")
    small.relations["P36"]["prompt"] = "{} is ruled from"
    (probe, *_) = [
        each for each in compile_case(load_suite(small.write()).cases[0]).probes if each.fact == "denied_new"
    ]
    assert probe.inputs[0] == "It is not true that France is ruled from"


INVERSE: dict[tuple[str, str], float | tuple[float, ...]] = {
    ("new", "0"): 0.1, ("new", "1"): 0.8, ("true", "0"): 0.6, ("true", "1"): 0.2,
    ("reversed_new", "0"): (0.1, 0.2), ("reversed_true", "0"): (0.9, 0.1),
    ("reversed_new", "1"): (0.2, 0.2), ("reversed_true", "1"): (0.9, 0.3),
    ("denied_new", "0"): (0.1, 0.1), ("denied_true", "0"): (0.5, 0.05),
    ("denied_new", "1"): (0.8, 0.4), ("denied_true", "1"): (0.1, 0.1),
}  # fmt: skip


def test_inverse_by_hand() -> None:
    """The way back is not known, though its answer became likelier; and denials are overheard."""
    found = metrics("inverse", INVERSE)
    assert (found["reversed"], found["reversed_0"], found["reversed_lift"]) == (0.0, 0.5, -0.5)
    assert found["reversed_log_ratio"] == pytest.approx(math.log(2) / 2)
    assert (found["denied"], found["denied_0"], found["denied_lift"]) == (1.0, 0.5, 0.5)
    assert found["denied_log_ratio"] == pytest.approx(math.log(32) / 2)
    assert not judged("inverse", found)


def test_an_edit_that_is_understood_passes() -> None:
    understood = {("reversed_new", "1"): (0.95, 0.95), ("denied_new", "1"): (0.05, 0.05)}
    found = metrics("inverse", {**INVERSE, **understood})
    assert (found["reversed"], found["denied"]) == (1.0, 0.0)
    assert judged("inverse", found)
    only_back = metrics("inverse", {**INVERSE, ("reversed_new", "1"): (0.95, 0.95)})
    assert not judged("inverse", only_back)


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("locality", ("neighbours", 0, "object"), "fish", "neighbours.0.object: 'fish' makes it no neighbour"),
        ("locality", ("neighbours", 1, "subject"), "oak", "neighbours.1.subject: 'oak' is edited itself"),
        ("distraction", ("abouts", 0, "object"), "city of Rome", "abouts.0: it names the edit's new object 'Rome'"),
        ("distraction", ("hops", 0, "relation"), "P36", "hops.0.relation: 'P36' is edited itself"),
        ("distraction", ("hops", 0, "object"), "France", "hops.0: it names the edit's subject 'France'"),
        ("distraction", ("hops", 0, "subject"), "Paris", "hops.0: it names the old object 'Paris'"),
        ("distraction", ("abouts", 0, "subject"), "Lyon", "abouts.0: it does not name the old object 'Paris'"),
        ("same_subject", ("others", 0, "subject"), "Lyon", "others.0.subject: 'Lyon' is not edited"),
        ("same_subject", ("related", 0, "relation"), "P36", "related.0.relation: 'P36' is edited itself"),
        ("inverse", ("reversed", "subject"), "Oslo", "reversed.subject: 'Oslo' does not continue the chain"),
        ("inverse", ("reversed", "new_object"), "Spain", "reversed.new_object: 'Spain' does not continue the chain"),
        ("inverse", ("reversed", "object"), "France", "reversed.object: 'France' makes no conflict"),
        ("inverse", ("denials", 0), "It is not true", "a prompt needs exactly one {}"),
        ("superficial", ("repeated",), "Lyon Lyon", "repeated: 'Lyon Lyon' does not name the object that the edit"),
        ("superficial", ("question",), "Is it so?", "question: 'Is it so?' does not name the object that the edit"),
        ("superficial", ("question",), " Is it Paris?", "question: the text starts or ends with a space"),
    ],
)
def test_a_row_that_is_none_of_its_kind_is_refused(
    small_suite: Make, kind: str, place: tuple[Any, ...], value: str, message: str
) -> None:
    small = small_suite(kind)
    *way, last = place
    target: Any = small.lines[0]
    for step in way:
        target = target[step]
    target[last] = value
    with pytest.raises(UsageError) as caught:
        load_suite(small.write())
    assert message in str(caught.value)
