"""The tables of facts that ship: readable, licensed, without contradictions, and what the packages give."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pytest_editpitfalls.files import read_toml
from pytest_editpitfalls.knowledge.facts import BadFact, fact_from, plain

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT / "suites" / "facts"
EXTRACT = FACTS / "extract"
MOST_BYTES = 2_500_000
FEWEST_FACTS = 30_000

ONE_OBJECT = frozenset(
    {
        "P246R",
        "P38R",
        "P1549",
        "P1376-state",
        "P246",
        "P610",
        "P1086",
        "P282",
        "element-block",
        "P78",
        "P36",
        "P37R",
        "P140",
        "P38",
        "element-series",
        "P78R",
        "element-period",
        "P1376",
        "P1549R",
        "P36-state",
        "P1195",
        "P1195R",
        "P571",
    }
)
"""Of P17, P30, P131-state and P931 the homonyms ship, so that who builds can see and drop them."""

WELL_KNOWN = [
    ("France", "P36", "Paris"),
    ("Japan", "P36", "Tokyo"),
    ("Germany", "P36", "Berlin"),
    ("India", "P36", "New Delhi"),
    ("Kazakhstan", "P36", "Astana"),
    ("Burundi", "P36", "Gitega"),
    ("Myanmar", "P36", "Naypyidaw"),
    ("United States", "P36", "Washington, D.C."),
    ("Paris", "P1376", "France"),
    ("Ottawa", "P1376", "Canada"),
    ("California", "P36-state", "Sacramento"),
    ("Austin", "P1376-state", "Texas"),
    ("gold", "P246", "Au"),
    ("Fe", "P246R", "iron"),
    ("oxygen", "P1086", "8"),
    ("neon", "element-series", "noble gas"),
    ("sodium", "element-period", "3"),
    ("copper", "element-block", "d"),
    ("Japan", "P78", ".jp"),
    (".de", "P78R", "Germany"),
    ("Japan", "P1549", "Japanese"),
    ("Dutch", "P1549R", "Netherlands"),
    ("Philippines", "P1549", "Filipino"),
    ("Python", "P1195", ".py"),
    (".rb", "P1195R", "Ruby"),
    ("Japanese", "P37R", "Japan"),
    ("hot", "P5974", "cold"),
    ("woman", "P5974", "man"),
    ("Kenya", "P30", "Africa"),
    ("Brazil", "P30", "South America"),
    ("Munich", "P30", "Europe"),
    ("China", "subregion", "Eastern Asia"),
    ("Japan", "P38", "yen"),
    ("Thailand", "P38", "baht"),
    ("Bulgaria", "P38", "euro"),
    ("Croatia", "P38", "euro"),
    ("yen", "P38R", "Japan"),
    ("Brazil", "P37", "Portuguese"),
    ("Austria", "P37", "German"),
    ("Ireland", "P37", "Irish"),
    ("India", "P2936", "Hindi"),
    ("France", "P47", "Germany"),
    ("Germany", "P47", "France"),
    ("Zambia", "P47", "Botswana"),
    ("Shanghai", "P17", "China"),
    ("Hamburg", "P17", "Germany"),
    ("Brazil", "P1383", "Rio de Janeiro"),
    ("Chicago", "P131-state", "Illinois"),
    ("Indira Gandhi International Airport", "P17", "India"),
    ("Beijing Capital International Airport", "P931", "Beijing"),
    ("Mexico", "export-partner", "United States"),
    ("India", "crops", "rice"),
    ("India", "P571", "1947"),
    ("Egypt", "P140", "Islam"),
    ("Germany", "P610", "Zugspitze"),
    ("Russia", "P610", "Mount Elbrus"),
    ("South Africa", "ports", "Durban"),
    ("Russian", "P282", "Cyrillic"),
    ("dog", "P279", "domestic animal"),
    ("Wolfgang Amadeus Mozart", "P106", "composer"),
    ("William Shakespeare", "P106", "poet"),
    ("eye", "P361", "face"),
]

NOT_THERE = [
    ("Israel", "P36"),
    ("Bolivia", "P36"),
    ("South Africa", "P36"),
    ("New Zealand", "P37"),
    ("Australia", "P37"),
    ("United States", "P37"),
    ("Russia", "P30"),
    ("Turkey", "P30"),
    ("Georgia", "P36"),
    ("Georgia", "P36-state"),
    ("Jerusalem", "P17"),
    ("Taiwan", "P36"),
    ("Palestine", "P36"),
    ("Taipei", "P17"),
    ("Zimbabwe", "P38"),
]
"""What is disputed."""


def tables() -> list[Path]:
    return sorted(FACTS.glob("*.csv.gz"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [row for path in tables() for row in rows_of(path)]


@pytest.fixture(scope="module")
def objects(rows: list[dict[str, str]]) -> dict[tuple[str, str], set[str]]:
    found = defaultdict(set)
    for row in rows:
        found[row["subject"], row["relation"]].add(row["object"])
    return found


def test_there_are_enough_and_they_are_small(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= FEWEST_FACTS
    assert sum(path.stat().st_size for path in tables()) < MOST_BYTES
    assert len({row["relation"] for row in rows}) >= 40


def test_every_row_is_a_fact(rows: list[dict[str, str]]) -> None:
    wrong = []
    for row in rows:
        try:
            fact_from(row, "")
        except BadFact as error:
            wrong.append((row, str(error)))
        if not row["subject_kind"] or not row["object_kind"] or plain(row["subject"]) == plain(row["object"]):
            wrong.append((row, "kinds or labels"))
        if any(
            "_" in row[name].replace(".xojo_code", "") or row[name] != row[name].strip()
            for name in ("subject", "object")
        ):
            wrong.append((row, "label as a database writes it"))
    assert not wrong[:5]


def test_no_fact_stands_there_twice(rows: list[dict[str, str]]) -> None:
    counts = Counter((plain(row["subject"]), row["relation"], plain(row["object"])) for row in rows)
    assert not [key for key, count in counts.items() if count > 1][:5]


def test_what_has_one_object_has_one(objects: dict[tuple[str, str], set[str]]) -> None:
    several = {key: found for key, found in objects.items() if key[1] in ONE_OBJECT and len(found) > 1}
    assert not several


def test_borders_and_opposites_hold_both_ways(objects: dict[tuple[str, str], set[str]]) -> None:
    one_way = [
        (subject, relation, object_)
        for (subject, relation), found in objects.items()
        if relation in ("P47", "P5974")
        for object_ in found
        if subject not in objects[object_, relation]
    ]
    assert not one_way[:5]


def test_homonyms_can_be_seen(objects: dict[tuple[str, str], set[str]]) -> None:
    assert len(objects["Birmingham", "P17"]) > 1
    assert len(objects["Springfield", "P131-state"]) > 1


def test_every_source_has_its_licence(rows: list[dict[str, str]]) -> None:
    sources, _ = read_toml(FACTS / "sources.toml")
    for name, source in sources.items():
        assert source["license"], name
        assert source["attribution"], name
        assert "ODbL" not in source["license"]
    for path in tables():
        main = {row["source"].split("+")[0] for row in rows_of(path)}
        assert len(main) == 1, path.name
        name = main.pop()
        assert {row["license"] for row in rows_of(path)} == {sources[name]["license"]}, path.name
        assert sources[name]["facts"] == len(rows_of(path)), path.name
    used = {part for row in rows for part in row["source"].split("+")}
    assert used == set(sources)


@pytest.mark.parametrize(("subject", "relation", "object_"), WELL_KNOWN, ids=lambda value: str(value))
def test_well_known(objects: dict[tuple[str, str], set[str]], subject: str, relation: str, object_: str) -> None:
    assert object_ in objects[subject, relation]


@pytest.mark.parametrize(("subject", "relation"), NOT_THERE, ids=lambda value: str(value))
def test_disputed_facts_do_not_ship(objects: dict[tuple[str, str], set[str]], subject: str, relation: str) -> None:
    assert (subject, relation) not in objects


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("Myanmar", "Burma"),
        ("Eswatini", "Swaziland"),
        ("Czechia", "Czech Republic"),
        ("North Macedonia", "Macedonia"),
        ("Turkey", "Türkiye"),
    ],
)
def test_former_and_other_names_are_aliases(rows: list[dict[str, str]], label: str, other: str) -> None:
    aliases = {alias for row in rows if row["subject"] == label for alias in row["subject_aliases"].split("|")}
    assert other in aliases
    assert not [row for row in rows if other in (row["subject"], row["object"])]


def test_overrides_say_why_and_by_what() -> None:
    with open(EXTRACT / "overrides.csv", encoding="utf-8", newline="") as file:
        overrides = list(csv.DictReader(file))
    assert overrides
    assert all(all(row.values()) and row["action"] in ("use", "drop") for row in overrides)


def test_packages_give_the_same_bytes() -> None:
    modules = Path(os.environ.get("FACTS_NODE_MODULES", EXTRACT / "node_modules"))
    made = subprocess.run(
        [sys.executable, "-m", "suites.facts.extract", "--check", "--node-modules", str(modules)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if made.returncode == 2:
        pytest.skip(f"the packages that facts are made of are not installed: {made.stderr.splitlines()[0][:200]}")
    assert made.returncode == 0, made.stdout + made.stderr
