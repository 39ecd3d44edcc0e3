"""A small invented body of knowledge with rules of every shape."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_editpitfalls.knowledge import Knowledge, load_knowledge

_PARAPHRASES = [f"Question {number} on the {{label}} of {{}} is" for number in range(10)]


def table(name: str, label: str, prompt: str = "", **values: object) -> str:
    paraphrases = [each.replace("{label}", label) for each in _PARAPHRASES]
    fields = {"label": label, "prompt": prompt or f"The {label} of {{}} is", "paraphrases": paraphrases, **values}
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items()), ""])


RELATIONS = "\n".join(
    [
        table(
            "P36", "capital", subject_kinds=["country"], object_kinds=["city"], functional=True, inverse_functional=True
        ),
        table(
            "P1376",
            "capital of",
            "{} is the capital of",
            subject_kinds=["city"],
            object_kinds=["country"],
            functional=True,
            inverse_functional=True,
        ),
        table("P30", "continent", object_kinds=["continent"], functional=True),
        table("P17", "country", subject_kinds=["city"], object_kinds=["country"], functional=True),
        table("P37", "official language", object_kinds=["language"], functional=True),
        table("P47", "neighbour", subject_kinds=["country"], object_kinds=["country"], symmetric=True),
        table("P361", "whole", transitive=True),
        table("P527", "part", transitive=True),
        table("mascot", "mascot", subject_kinds=["country", "city"], functional=True, names=["EMBLEM"]),
        table("crop", "crop", subject_kinds=["country"]),
    ]
)

RULES = "".join(
    "[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rule.items())
    for rule in (
        {"id": "P36>P1376", "shape": "inverse", "first": "P36", "second": "P1376", "strength": "strict", "words": "w"},
        {"id": "P361>P527", "shape": "inverse", "first": "P361", "second": "P527", "strength": "strict", "words": "w"},
        {
            "id": "P17&P30>P30",
            "shape": "composition",
            "tied": "P17",
            "first": "P30",
            "second": "P30",
            "subject_kinds": ["city"],
            "strength": "strict",
            "words": "a city lies on its country's continent",
        },
        {
            "id": "P17&P37>P37",
            "shape": "composition",
            "tied": "P17",
            "first": "P37",
            "second": "P37",
            "strength": "default",
            "words": "a city mostly has its country's language",
        },
    )
)

CONTINENTS = ["Estland", "Westland", "Midland", "Farland", "Oldland"]


def facts(countries: int = 120) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def fact(subject: str, relation: str, object_: str, **more: object) -> None:
        found.append({"subject": subject, "relation": relation, "object": object_, **more})

    for n in range(countries):
        country = f"Country {n}"
        names = {"subject_aliases": [f"Republic of {country}"], "subject_kind": "country", "popularity": 200 - n}
        continent = CONTINENTS[n % 5]
        fact(country, "P36", f"City {n}.0", object_aliases=[f"Old Town {n}"], **names)
        fact(f"City {n}.0", "P1376", country, subject_kind="city")
        fact(country, "P30", continent, **names)
        fact(country, "P37", f"Language {n % 40}", **names)
        fact(country, "P47", f"Country {(n + 1) % countries}", **names)
        fact(country, "mascot", f"Beast {n % 30}", **names)
        fact(country, "crop", f"Grain {n % 20}", **names)
        fact(country, "crop", f"Grain {(n + 1) % 20}", **names)
        for m in range(7):
            city = f"City {n}.{m}"
            fact(
                city,
                "P17",
                country,
                subject_kind="city",
                object_kind="country",
                object_aliases=names["subject_aliases"],
            )
            fact(city, "mascot", f"Bird {(n + m) % 50}", subject_kind="city")
            if m % 2:
                fact(city, "P30", continent, subject_kind="city")
    for n in range(40):
        fact(f"Wheel {n}", "P361", f"Wagon {n}")
        fact(f"Spoke {n}", "P361", f"Wheel {n}")
    return found


def write_knowledge(folder: Path, countries: int = 120) -> list[str]:
    """Write facts, relations and rules; return the options of `editpitfalls lint` that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "relations.toml").write_text(RELATIONS, encoding="utf-8")
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    (folder / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts(countries)), encoding="utf-8")
    return [
        f"--facts={folder / 'facts.jsonl'}",
        f"--relations={folder / 'relations.toml'}",
        f"--rules={folder / 'rules.toml'}",
    ]


def small_knowledge(folder: Path) -> Knowledge:
    write_knowledge(folder)
    return load_knowledge([folder / "facts.jsonl"], folder / "relations.toml", folder / "rules.toml")
