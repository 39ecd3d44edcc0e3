"""A list of edits as a suite: the facts around each edit, and nothing that another edit or the edit itself changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lint_knowledge import facts, small_knowledge, write_knowledge

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.cases.digests import case_digest, program_digest
from pytest_editpitfalls.edit_lists.around import AROUND_PROMPTS, MOST, OWN_PROMPTS
from pytest_editpitfalls.edit_lists.reading import read_edits
from pytest_editpitfalls.edit_lists.suite import EditSuite, edit_suite
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, load_knowledge
from pytest_editpitfalls.pitfalls import compile_case

Make = Callable[..., EditSuite]


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    return small_knowledge(tmp_path_factory.mktemp("knowledge"))


@pytest.fixture
def make(tmp_path: Path, knowledge: Knowledge) -> Make:
    def suite(
        edits: Sequence[dict[str, str]], *, together: bool = False, name: str = "mine.jsonl", known: Any = None
    ) -> EditSuite:
        path = tmp_path / name
        path.write_text("".join(json.dumps(each) + "\n" for each in edits), encoding="utf-8")
        known = known or knowledge
        return edit_suite(read_edits(path, known.relations), known, together=together)

    return suite


def edit(subject: str, relation: str, target: str, **more: str) -> dict[str, str]:
    return {"subject": subject, "relation": relation, "target_new": target, **more}


def row(made: EditSuite, place: int = 0) -> Any:
    return made.suite.cases[place].row


def test_an_edit_of_a_capital(make: Make) -> None:
    found = row(make([edit("Republic of Country 1", "capital", "City 1.3")]))
    assert found.edits == (Edit("P36", "Republic of Country 1", "City 1.0", "City 1.3"),)
    assert found.rule == "P36"
    assert found.siblings == ()
    assert Fact("P30", "Country 1", "Westland") in found.others
    assert Fact("P37", "Country 1", "Language 1") in found.others
    assert {fact.relation for fact in found.others} == {"P30", "P37", "P47", "mascot", "crop"}
    # best known first; nobody else has the former capital
    assert found.neighbours == tuple(Fact("P36", f"Country {n}", f"City {n}.0") for n in (0, *range(2, MOST + 1)))
    assert found.inverses == (Edit("P1376", "City 1.3", "Country 0", "Republic of Country 1"),)
    assert (found.ties, found.conclusions, found.expectations) == ((), (), ())


def test_the_inverse_is_held_against_what_was_true(make: Make) -> None:
    found = row(make([edit("Country 1", "P36", "City 7.0")]))
    assert found.inverses == (Edit("P1376", "City 7.0", "Country 7", "Country 1"),)


def test_what_follows_and_what_links_it(make: Make) -> None:
    found = row(make([edit("Country 5", "P30", "Farland")]))
    assert found.edits[0].object == "Estland"
    assert set(found.conclusions) == {Edit("P30", f"City 5.{m}", "Estland", "Farland") for m in range(7)}
    assert set(found.ties) == {Fact("P17", f"City 5.{m}", "Country 5") for m in range(7)}
    assert found.expectations == ()
    # neighbours with the former object come first; cities of the country itself depend on the edit
    assert [fact.object for fact in found.neighbours] == ["Estland"] * MOST
    assert all(fact.subject.startswith("Country ") for fact in found.neighbours)
    assert Fact("P30", "Country 3", "Farland") not in found.neighbours


def test_a_default_rule_gives_expectations(make: Make) -> None:
    found = row(make([edit("Country 5", "P37", "Latin")]))
    assert found.conclusions == ()
    assert set(found.expectations) == {Edit("P37", f"City 5.{m}", "Language 5", "Latin") for m in range(7)}


def test_a_moved_city_takes_its_new_countrys_facts(make: Make) -> None:
    found = row(make([edit("City 1.2", "P17", "Country 3")]))
    assert found.conclusions == (Edit("P30", "City 1.2", "Westland", "Farland"),)
    assert found.expectations == (Edit("P37", "City 1.2", "Language 1", "Language 3"),)
    assert [fact.relation for fact in found.others] == ["mascot"]  # its continent and language depend on the edit


def test_siblings_stay_where_a_subject_has_several_objects(make: Make) -> None:
    found = row(make([edit("Country 1", "crop", "rye", target_true="Grain 2")]))
    assert found.edits[0].object == "Grain 2"
    assert found.siblings == (Fact("crop", "Country 1", "Grain 1"),)


def test_what_another_edit_of_the_list_changes_is_left_out(make: Make) -> None:
    made = make(
        [
            edit("Country 5", "P30", "Farland"),
            edit("City 5.1", "P30", "Farland"),
            edit("City 5.2", "P17", "Country 9"),
            edit("Country 0", "P30", "Oldland"),
            edit("Country 5", "P36", "City 5.4"),
            edit("City 5.4", "P1376", "Country 5"),
        ]
    )
    found = row(made)
    assert {each.subject for each in found.conclusions} == {f"City 5.{m}" for m in (0, 2, 3, 4, 5, 6)}
    assert Fact("P17", "City 5.2", "Country 5") not in found.ties
    assert Fact("P30", "Country 0", "Estland") not in found.neighbours
    assert not [fact for fact in found.others if fact.relation == "P36"]
    assert row(made, 4).inverses == ()


def test_each_sort_is_capped_at_the_best_known(make: Make) -> None:
    for place in range(3):
        found = row(make([edit("Country 1", "P36", "X"), edit("Country 2", "P30", "X"), edit("C", "crop", "X")]), place)
        assert max(len(facts) for facts in found.around().values()) <= MOST


def test_prompts(make: Make) -> None:
    made = make(
        [
            edit("Country 1", "P36", "City 1.3"),
            {**edit("Country 2", "P36", "City 2.3"), "prompt": "The seat of {}'s government is"},
        ]
    )
    first, second = (compile_case(case) for case in made.suite.cases)
    assert first.steps[0][0].prompt == "The capital of {} is"
    by_fact = {probe.fact: probe for probe in second.probes}
    assert second.steps[0][0].prompt == "The seat of {}'s government is"
    assert second.steps[0][0].relation == "P36"
    assert by_fact["new"].prompts[:2] == ("The seat of Country 2's government is", "The capital of Country 2 is")
    assert len(by_fact["new"].prompts) == 1 + OWN_PROMPTS
    assert len(by_fact["neighbour:0"].prompts) == 1 + AROUND_PROMPTS
    assert by_fact["neighbour:0"].prompts[0] == "The capital of Country 0 is"


def test_an_edit_with_a_prompt_alone_is_asked_whether_it_takes(make: Make) -> None:
    made = make(
        [
            {"subject": "Ann", "prompt": "{} drinks", "target_new": "tea", "target_true": "milk"},
            {"subject": "Bob", "prompt": "{} drinks", "target_new": "tea"},
            edit("Country 1", "P36", "City 1.3"),
        ]
    )
    drinks, unknown, _ = made.suite.cases
    assert [probe.fact for probe in compile_case(drinks).probes] == ["new", "new", "true", "true"]
    assert [probe.fact for probe in compile_case(unknown).probes] == ["new", "new"]
    assert (drinks.group, drinks.held) == ("prompt", ())
    assert made.notices == (
        "mine.jsonl: nothing is known around 2 of 3 edits; they are asked only whether they take",
        "mine.jsonl: target_true is missing and not known for 1 edit: their es and ps are unknown",
    )


def test_conflicts_are_told_and_run_all_the_same(make: Make) -> None:
    made = make([edit("Country 1", "P36", "City 1.3"), edit("Country 1", "P36", "City 1.4")])
    assert len(made.suite.cases) == 2
    (notice,) = made.notices
    assert notice.startswith("mine.jsonl: 1 conflict, the first at line 2: Country 1 (capital): City 1.4, but City 1.3")
    assert notice.endswith("(all of them: editpitfalls lint mine.jsonl)")


def test_the_facts_held_are_asked_over_all_objects_of_the_relation(make: Make, knowledge: Knowledge) -> None:
    (held,) = make([edit("Country 1", "crop", "rye", target_true="Grain 2")]).suite.cases[0].held
    assert held.fact == Fact("crop", "Country 1", "Grain 2")
    assert set(held.candidates) == {thing.label for thing in knowledge.objects("crop")}
    assert set(held.not_rivals) == {"Grain 1", "Grain 2"}
    assert held.scores == ("mean", "sum")


def test_another_name_of_what_is_true_is_no_rival(make: Make, knowledge: Knowledge) -> None:
    more = [
        KnownFact("Country 1", "crop", "maize", object_aliases=("corn",)),
        KnownFact("Country 77", "crop", "corn"),
    ]
    known = Knowledge([*knowledge, *more], knowledge.relations, knowledge.rules)
    (held,) = make([edit("Country 1", "crop", "rye", target_true="maize")], known=known).suite.cases[0].held
    assert "corn" in held.candidates
    assert "corn" in held.not_rivals


def test_a_case_depends_on_its_own_edit_alone(make: Make) -> None:
    alone = make([edit("Country 1", "P36", "City 1.3", id="a")]).suite.cases[0]
    beside = make([edit("Country 50", "crop", "rye"), edit("Country 1", "P36", "City 1.3", id="a")]).suite.cases[1]
    assert case_digest(alone) == case_digest(beside)
    again = make([edit("Country 1", "P36", "City 1.3", id="a")], name="other.jsonl").suite
    assert case_digest(again.cases[0]) == case_digest(alone)
    assert again.digest == make([edit("Country 1", "P36", "City 1.3", id="a")]).suite.digest


def test_more_facts_elsewhere_change_nothing(make: Make, tmp_path: Path) -> None:
    edits = [edit("Country 1", "P30", "Farland", id="a"), edit("Country 1", "crop", "rye", id="b")]
    before = make(edits).suite
    folder = tmp_path / "more"
    write_knowledge(folder)
    extra = [{"subject": "Newland", "relation": "mascot", "object": "Beast 1", "subject_kind": "country"}]
    lines = "".join(json.dumps(fact) + "\n" for fact in [*facts(), *extra])
    (folder / "facts.jsonl").write_text(lines, encoding="utf-8")
    known = load_knowledge([folder / "facts.jsonl"], folder / "relations.toml", folder / "rules.toml")
    assert [case_digest(case) for case in make(edits, known=known).suite.cases] == [
        case_digest(case) for case in before.cases
    ]


def test_together_all_cases_have_one_step_with_all_edits(make: Make) -> None:
    edits = [edit("Country 1", "P36", "City 1.3"), edit("Country 5", "P30", "Farland")]
    alone, together = make(edits).suite, make(edits, together=True).suite
    programs = [compile_case(case) for case in together.cases]
    assert [len(program.steps) for program in programs] == [1, 1]
    assert programs[0].steps == programs[1].steps
    assert programs[0].shared == programs[1].shared != ""
    assert programs[0].steps[0] == tuple(compile_case(case).steps[0][0] for case in alone.cases)
    assert [program.probes for program in programs] == [compile_case(case).probes for case in alone.cases]
    other = make([*edits, edit("Country 7", "P30", "Farland")], together=True).suite
    digests = {program_digest(compile_case(case)) for suite in (alone, together, other) for case in suite.cases}
    assert len(digests) == 2 + 2 + 3
    assert len({case_digest(case) for suite in (alone, together, other) for case in suite.cases}) == 2 + 2 + 3


def test_a_list_named_as_a_suite_that_ships_has_another_name(make: Make) -> None:
    assert make([edit("Country 1", "P36", "X")], name="reverse.jsonl").suite.name.endswith("-reverse")


def test_neighbours_of_counterfact_are_asked_as_the_list_has_them(tmp_path: Path, knowledge: Knowledge) -> None:
    record = {
        "requested_rewrite": {
            "prompt": "{} is the capital of",
            "relation_id": "P1376",
            "target_new": {"str": "Norway"},
            "target_true": {"str": "Japan"},
            "subject": "Tokyo",
        },
        "paraphrase_prompts": ["It rained all day. Tokyo, the capital of", "Nobody knows"],
        "neighborhood_prompts": ["Kyoto was the capital of"],
    }
    path = tmp_path / "cf.json"
    path.write_text(json.dumps([record]), encoding="utf-8")
    case: Case = edit_suite(read_edits(path, knowledge.relations), knowledge).suite.cases[0]
    probes = {probe.fact: probe for probe in compile_case(case).probes}
    assert probes["new"].prompts[:2] == ("Tokyo is the capital of", "It rained all day. Tokyo, the capital of")
    assert probes["neighbour:0"].prompts == ("Kyoto was the capital of",)
    assert (probes["neighbour:0"].target, probes["neighbour_new:0"].target) == ("Japan", "Norway")


@pytest.mark.parametrize(
    ("prompt", "target", "sentence"),
    [
        ("{}的首都是", "里昂", "法国的首都是里昂"),
        ("{}の首都は", "リヨン", "法国の首都はリヨン"),
        ("The capital of {} is", "Lyon", "The capital of 法国 is Lyon"),
    ],
)
def test_the_object_of_a_prompt_alone_follows_as_its_script_has_it(
    make: Make, prompt: str, target: str, sentence: str
) -> None:
    made = make([{"subject": "法国", "prompt": prompt, "target_new": target, "target_true": "X"}])
    assert compile_case(made.suite.cases[0]).steps[0][0].sentence == sentence
