"""What is left out of facts that were read well: overrides, disagreements, circles, homonyms."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.knowledge_samples import make_relations, table

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge, KnownFact, Relations, load_knowledge, read_relations


@pytest.fixture
def relations(tmp_path: Path) -> Relations:
    return make_relations(tmp_path)


def capital(subject: str, object_: str, source: str, **values: object) -> KnownFact:
    return KnownFact(subject, "P36", object_, source=source, place=f"{source}:1", **values)  # type: ignore[arg-type]


def found(knowledge: Knowledge) -> set[tuple[str, str]]:
    return {(fact.subject, fact.object) for fact in knowledge}


class TestOverrides:
    FACTS = (
        "subject,relation,object,subject_aliases,subject_kind,object_kind,popularity,source\n"
        "Kazakhstan,P36,Nur-Sultan,Qazaqstan,country,city,5,old\n"
        "France,P36,Paris,,country,city,9,old\n"
        "Switzerland,P37,German,,country,language,3,old\n"
        "Switzerland,P37,Latin,,country,language,3,old\n"
    )

    def load(self, directory: Path, overrides: str, facts: str = FACTS) -> Knowledge:
        (directory / "facts.csv").write_text(facts)
        (directory / "overrides.csv").write_text("subject,relation,object,action,reason,source\n" + overrides)
        return load_knowledge([directory / "facts.csv"], directory / "relations.toml")

    def test_a_fact_that_no_table_has_takes_the_place_of_an_outdated_one(
        self, tmp_path: Path, relations: Relations
    ) -> None:
        knowledge = self.load(tmp_path, "Qazaqstan,capital,Astana,use,renamed in 2022,by hand\n")
        (fact,) = knowledge.of("P36", "Kazakhstan")
        assert (fact.object, fact.source, fact.place) == ("Astana", "by hand", "overrides.csv:2")
        assert (fact.subject_kind, fact.object_kind, fact.popularity) == ("country", "city", 5), "as the table has it"
        assert knowledge.report.left_out == {"an override says so: renamed in 2022": 1}
        assert knowledge.report.notes == ["1 fact that no table has, added by overrides"]

    def test_a_wrong_fact_is_dropped_and_others_of_the_subject_stay(self, tmp_path: Path, relations: Relations) -> None:
        knowledge = self.load(tmp_path, "Switzerland,P37,latin,drop,a joke,by hand\nSwitzerland,P37,French,use,,\n")
        assert {fact.object for fact in knowledge.of("P37", "Switzerland")} == {"German", "French"}

    def test_it_decides_where_sources_disagree(self, tmp_path: Path, relations: Relations) -> None:
        facts = self.FACTS + "Kazakhstan,P36,Astana,,country,city,5,new\n"
        assert not self.load(tmp_path, "", facts).of("P36", "Kazakhstan")
        knowledge = self.load(tmp_path, "Kazakhstan,P36,Astana,use,renamed,\n", facts)
        assert [fact.source for fact in knowledge.of("P36", "Kazakhstan")] == ["new"]
        knowledge = self.load(tmp_path, "Kazakhstan,P36,Nur-Sultan,drop,renamed,\n", facts)
        assert [fact.source for fact in knowledge.of("P36", "Kazakhstan")] == ["new"]

    def test_what_matches_nothing_is_noted(self, tmp_path: Path, relations: Relations) -> None:
        knowledge = self.load(tmp_path, "Mars,P36,Olympus,drop,x,\nFrance,P36,Lyon,drop,x,\nFrance,P99,Lyon,use,x,\n")
        assert len(knowledge) == 4
        assert knowledge.report.notes == [
            "overrides that match nothing: overrides.csv:2, overrides.csv:3, overrides.csv:4 (unknown relation 'P99')"
        ]

    def test_those_that_are_given_are_read_instead_of_those_beside_the_table(
        self, tmp_path: Path, relations: Relations
    ) -> None:
        self.load(tmp_path, "France,P36,Paris,drop,x,\n")
        other = tmp_path / "mine.csv"
        other.write_text("subject,relation,object,action\nKazakhstan,P36,Nur-Sultan,drop\n")
        knowledge = load_knowledge([tmp_path / "facts.csv"], relations.source, overrides=other)
        assert found(knowledge) == {("France", "Paris"), ("Switzerland", "German"), ("Switzerland", "Latin")}
        assert knowledge.report.left_out == {"an override says so: no reason given": 1}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("subject,relation,object\nFrance,P36,Paris\n", r"overrides\.csv:1: there is no column 'action'"),
            ("subject,relation,object,action,action\n", r"overrides\.csv:1: there are two columns 'action'"),
            ("subject,relation,object,action\nFrance,P36,Paris,drpo\n", r"csv:2: unknown action 'drpo'\n.*mean 'drop'"),
            ("subject,relation,object,action\nFrance,P36,,drop\n", r"overrides\.csv:2: object is empty"),
            ("subject,relation,object,action\nFrance,P36,drop\n", r"overrides\.csv:2: 3 fields, and the header has 4"),
            ('subject,relation,object,action\n"France,P36,Paris,drop\n', r"overrides\.csv:2: not valid CSV"),
            ("", r"overrides\.csv:1: there is no column 'subject'"),
        ],
    )
    def test_a_line_that_is_wrong_is_refused(
        self, tmp_path: Path, relations: Relations, text: str, message: str
    ) -> None:
        self.load(tmp_path, "")
        (tmp_path / "overrides.csv").write_text(text)
        with pytest.raises(UsageError, match=message):
            load_knowledge([tmp_path / "facts.csv"], relations.source)


class TestDisagreements:
    def test_both_are_left_out_and_counted(self, relations: Relations) -> None:
        facts = [capital("Kazakhstan", "Nur-Sultan", "old"), capital("Kazakhstan", "Astana", "new")]
        facts.append(capital("France", "Paris", "old"))
        knowledge = Knowledge(facts, relations)
        assert found(knowledge) == {("France", "Paris")}
        assert knowledge.report.left_out == {"the sources disagree on the object": 2}
        assert knowledge.report.examples == {"the sources disagree on the object": "old:1"}
        assert len(Knowledge(facts, relations, agreed=False)) == 3

    def test_two_sources_outvote_a_third(self, relations: Relations) -> None:
        facts = [
            capital("Burundi", "Gitega", "a"),
            capital("Burundi", "Bujumbura", "b"),
            capital("Burundi", "gitega", "c"),
        ]
        knowledge = Knowledge(facts, relations)
        assert found(knowledge) == {("Burundi", "Gitega")}
        assert knowledge.report.left_out["two other sources agree on another object"] == 1

    def test_two_names_of_one_object_agree(self, relations: Relations) -> None:
        facts = [
            capital("Ukraine", "Kyiv", "a", object_aliases=("Kiev",)),
            capital("Ukraine", "Kiev", "b"),
        ]
        assert len(Knowledge(facts, relations)) == 2

    def test_several_objects_of_one_source_and_of_relations_with_several_are_none(self, relations: Relations) -> None:
        facts = [capital("Bolivia", "Sucre", "a"), capital("Bolivia", "La Paz", "a"), capital("Bolivia", "Sucre", "b")]
        facts += [KnownFact("Peru", "P37", name, source=name) for name in ("Spanish", "Quechua")]
        assert len(Knowledge(facts, relations)) == 4

    def test_a_table_whose_subject_is_always_the_same_takes_no_hours(self, relations: Relations) -> None:
        facts = [capital("country", f"city {number}", str(number)) for number in range(30_000)]
        assert not len(Knowledge(facts, relations))
        facts = [capital("country", f"city {number}", "a") for number in range(30_000)]
        assert list(Knowledge(facts, relations).homonyms()) == ["country"]

    def test_tables_without_a_source_are_told_apart_by_their_names(self, tmp_path: Path, relations: Relations) -> None:
        for name, object_ in (("one.csv", "Sydney"), ("two.csv", "Canberra")):
            (tmp_path / name).write_text(f"subject,relation,object\nAustralia,P36,{object_}\nPeru,P36,Lima\n")
        knowledge = load_knowledge([tmp_path / "one.csv", tmp_path / "two.csv"], relations.source)
        assert found(knowledge) == {("Peru", "Lima")}


class TestCircles:
    def kinds(self, *pairs: str) -> list[KnownFact]:
        return [KnownFact(*pair.split(">"), place=pair) for pair in (p.replace(">", ">P279>") for p in pairs)]

    def test_facts_on_a_circle_are_named_and_left_out(self, relations: Relations) -> None:
        facts = self.kinds(
            "Set>group", "group>collection", "collection>set", "group>entity", "dog>animal", "family>group"
        )
        knowledge = Knowledge(facts, relations)
        assert found(knowledge) == {("group", "entity"), ("dog", "animal"), ("family", "group")}
        assert [str(circle) for circle in knowledge.circles] == ["Set > group > collection > set"]
        assert knowledge.report.left_out == {"it lies on a circle of 'kind of': Set > group > collection > set": 3}

    def test_a_thing_of_its_own_kind_and_two_circles(self, relations: Relations) -> None:
        knowledge = Knowledge(self.kinds("a>a", "b>c", "c>b", "c>a", "a>d"), relations)
        assert found(knowledge) == {("c", "a"), ("a", "d")}
        assert sorted(str(circle) for circle in knowledge.circles) == ["a > a", "b > c > b"]

    def test_a_symmetric_relation_runs_in_no_circles(self, relations: Relations) -> None:
        facts = [KnownFact("France", "P47", "Spain"), KnownFact("Spain", "P47", "France")]
        assert len(Knowledge(facts, relations)) == 2

    def test_a_long_chain_is_no_circle_and_a_long_circle_is_one(self, relations: Relations) -> None:
        chain = [f"{number}>{number + 1}" for number in range(20_000)]
        assert len(Knowledge(self.kinds(*chain), relations)) == 20_000
        knowledge = Knowledge(self.kinds(*chain, "20000>0"), relations)
        assert not len(knowledge)
        assert len(knowledge.circles[0].labels) == 20_002
        (reason,) = knowledge.report.left_out
        assert reason.endswith("'kind of': 0 > 1 > 2 > 3 > 4 > 5 > 6 > 7 > 8 > ... (19,992 more) > 0")


class TestHomonyms:
    def city(self, label: str, country: str, popularity: float = 0) -> KnownFact:
        return KnownFact(label, "P17", country, (), (), "city", "country", popularity=popularity, source="cities")

    def test_a_country_and_a_state(self, relations: Relations) -> None:
        georgia = KnownFact("Georgia", "P36", "Tbilisi", subject_kind="country", object_kind="city")
        state = KnownFact("Georgia", "P36-state", "Atlanta", subject_kind="state", object_kind="city")
        peru = KnownFact("Peru", "P36", "Lima", subject_kind="country", object_kind="city")
        homonyms = Knowledge([georgia, state, peru], relations).homonyms()
        assert list(homonyms) == ["Georgia"]
        assert homonyms["Georgia"].kinds == {"country", "state"}
        assert homonyms["Georgia"].reason.startswith("both a thing of kind 'country' and one of")

    def test_cities_of_one_name_in_several_countries(self, relations: Relations) -> None:
        facts = [
            self.city("Santiago", "Chile", 4_837_295),
            self.city("Santiago", "Philippines", 128_906),
            self.city("Vancouver", "Canada", 600_000),
            self.city("Vancouver", "United States", 172_860),
            self.city("Paris", "France", 2_138_551),
            self.city("Paris", "United States", 24_782),
            self.city("Lima", "Peru", 7_737_002),
        ]
        knowledge = Knowledge(facts, relations)
        assert set(knowledge.homonyms()) == {"Santiago", "Vancouver", "Paris"}
        assert set(knowledge.homonyms("city")) == {"Santiago", "Vancouver", "Paris"}
        assert not knowledge.homonyms("country")
        assert set(knowledge.homonyms(dominance=50)) == {"Santiago", "Vancouver"}, "Paris is 86 times as large"
        assert knowledge.homonyms()["Santiago"].reason == "its 'country' is Chile and Philippines"

    def test_a_work_of_two_authors(self, relations: Relations) -> None:
        facts = [KnownFact("Antigone", "P31X", name, subject_kind="work") for name in ("Sophocles", "Jean Anouilh")]
        assert set(Knowledge(facts, relations).homonyms("work")) == {"Antigone"}

    def test_kinds_that_no_relation_confuses_are_none(self, relations: Relations) -> None:
        facts = [
            KnownFact("France", "P1549", "French", subject_kind="country", object_kind="demonym"),
            KnownFact("France", "P37", "French", subject_kind="country", object_kind="language"),
            KnownFact("France", "P36", "Paris", subject_kind="country", object_kind="city"),
            self.city("Paris", "France"),
        ]
        assert not Knowledge(facts, relations).homonyms()

    def test_a_country_is_a_homonym_of_no_bird_but_a_bird_of_the_country(self, tmp_path: Path) -> None:
        path = tmp_path / "relations.toml"
        path.write_text(table("P276", "place", subject_kinds=["country", "bird"]))
        facts = [
            KnownFact("Turkey", "P276", "Asia", subject_kind="country"),
            KnownFact("turkey", "P276", "America", subject_kind="bird"),
        ]
        homonyms = Knowledge(facts, read_relations(path)).homonyms()
        assert list(homonyms) == ["turkey"], "at the beginning of a sentence it is written like the country"

    def test_a_food_is_a_thing(self, tmp_path: Path) -> None:
        path = tmp_path / "relations.toml"
        path.write_text(table("P279", "kind of", subject_kinds=["food", "thing"]))
        facts = [KnownFact("pesto", "P279", "sauce", subject_kind=kind, source=kind) for kind in ("food", "thing")]
        facts.append(KnownFact("pesto", "P279", "paste", subject_kind="thing"))
        assert not Knowledge(facts, read_relations(path)).homonyms()

    def test_a_label_of_one_object_under_two_names_is_none(self, relations: Relations) -> None:
        facts = [
            capital("Ukraine", "Kyiv", "a", object_aliases=("Kiev",)),
            capital("Ukraine", "Kiev", "a"),
        ]
        assert not Knowledge(facts, relations).homonyms()


@pytest.mark.parametrize("count", [9, 10, 11, 19, 20, 21, 47])
def test_of_too_many_facts_the_best_known_are_kept(
    relations: Relations, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("pytest_editpitfalls.knowledge.knowledge.MAX_FACTS", 10)
    facts = [capital(f"country {n}", f"city {n}", "a", popularity=n * 7919 % 101 // 10) for n in range(count)]
    others = [KnownFact(f"country {n}", "P37", "French") for n in range(8)]
    knowledge = Knowledge([*facts, *others], relations)
    best = sorted(facts, key=lambda fact: -fact.popularity)[:10]
    assert {fact.subject for fact in knowledge.facts("P36")} == {fact.subject for fact in best}
    assert len(list(knowledge.facts("P37"))) == 8
    assert knowledge.report.left_out.total() == max(0, count - 10)
