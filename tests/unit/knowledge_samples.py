"""Relations, and small dumps in the published forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_editpitfalls.knowledge import Relations, read_relations

PARAPHRASES = [f"Question {number}: {{}} has" for number in range(10)]


def table(name: str, label: str, **values: object) -> str:
    lines = [f"[{name}]", f'label = "{label}"', f'prompt = "The {label} of {{}} is"', f"paraphrases = {PARAPHRASES!r}"]
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


TABLES = (
    table("P36", "capital", functional=True, inverse_functional=True, subject_kinds=["country"], object_kinds=["city"])
    + table("P36-state", "state capital", functional=True, subject_kinds=["state"], object_kinds=["city"])
    + table("P17", "country", functional=True, subject_kinds=["city", "landmark"], object_kinds=["country"])
    + table("P37", "official language", subject_kinds=["country"], object_kinds=["language"])
    + table("P571", "independence year", functional=True, subject_kinds=["country"], object_kinds=["year"])
    + table("P569", "date of birth", functional=True, subject_kinds=["person"])
    + table("P1086", "atomic number", functional=True, subject_kinds=["element"])
    + table("P1549", "demonym", subject_kinds=["country"], object_kinds=["demonym"])
    + table("P31X", "written by", names=["author"], functional=True, subject_kinds=["work"])
    + table("P279", "kind of", transitive=True)
    + table("P47", "border", symmetric=True, transitive=True)
)


def make_relations(directory: Path) -> Relations:
    path = directory / "relations.toml"
    path.write_text(TABLES)
    return read_relations(path)


def item(
    id: str, label: str | None = None, *, aliases: tuple[str, ...] = (), sitelinks: int = 0, **claims: Any
) -> dict[str, Any]:
    """An item as Wikidata's dumps have it; what is empty is an array there."""
    return {
        "type": "item",
        "id": id,
        "labels": {"en": {"language": "en", "value": label}, "de": {"language": "de", "value": f"{label} (de)"}}
        if label is not None
        else [],
        "aliases": {"en": [{"language": "en", "value": alias} for alias in aliases]} if aliases else [],
        "descriptions": {},
        "sitelinks": {f"site{number}": {} for number in range(sitelinks)} or [],
        "claims": {
            name: [value if isinstance(value, dict) else statement(value) for value in values]
            for name, values in claims.items()
        }
        or [],
    }


def statement(value: object, rank: str = "normal", ended: bool = False, kind: str = "") -> dict[str, Any]:
    """A statement: of an item ("Q90"), a text, or a value of a `kind` as the dumps write it; None: no value."""
    if value is None:
        snak: dict[str, Any] = {"snaktype": "novalue"}
    elif kind:
        snak = {"snaktype": "value", "datavalue": {"type": kind, "value": value}}
    elif isinstance(value, str) and value.startswith("Q"):
        known = {"entity-type": "item", "numeric-id": int(value[1:]), "id": value}
        snak = {"snaktype": "value", "datavalue": {"type": "wikibase-entityid", "value": known}}
    else:
        snak = {"snaktype": "value", "datavalue": {"type": "string", "value": value}}
    ends = {"P582": [{"snaktype": "value", "datavalue": {}}]} if ended else []
    return {"mainsnak": snak, "type": "statement", "rank": rank, "qualifiers": ends}


def moment(time: str, precision: int) -> dict[str, Any]:
    return statement({"time": time, "precision": precision, "calendarmodel": "gregorian"}, kind="time")


WIKIDATA = [
    item("Q142", "France", aliases=("French Republic", "La France"), sitelinks=3, P31=["Q3624078", "Q6256"],
         P36=["Q90", statement("Q12", ended=True)], P37=["Q150"], P999=["Q1", "Q2"]),
    item("Q183", "Germany", sitelinks=2, P31=["Q6256"],
         P36=[statement("Q64", "preferred"), "Q586", statement("Q3000", "deprecated")],
         P571=[moment("+1949-05-23T00:00:00Z", 11)],
         P1549=[statement({"language": "en", "text": "German"}, kind="monolingualtext"),
                statement({"language": "de", "text": "Deutscher"}, kind="monolingualtext")]),
    item("Q99", "California", P31=["Q35657"], P36=["Q18013"]),
    item("Q560", "helium", P31=["Q11344"], P1086=[statement({"amount": "+2", "unit": "1"}, kind="quantity")]),
    item("Q937", "Albert Einstein", P569=[moment("+1879-03-14T00:00:00Z", 11)]),
    item("Q1048", "Julius Caesar", P569=[moment("-0100-07-12T00:00:00Z", 9)]),
    item("Q5000", "Ruritania", P31=["Q6256"], P36=[statement(None)]),
    item("Q5001", "Q5001", P31=["Q6256"], P36=["Q90"]),
    item("Q5002", None, P31=["Q6256"], P36=["Q90"]),
    item("Q5003", "Elbonia", P31=["Q6256"], P36=["Q77777"]),
    {"type": "property", "id": "P36", "labels": {"en": {"language": "en", "value": "capital"}}, "claims": {}},
    item("Q90", "Paris", aliases=("City of Light",), P31=["Q515"], P17=["Q142"]),
    item("Q64", "Berlin", P31=["Q515"]),
    item("Q586", "Bonn"),
    item("Q18013", "Sacramento"),
    item("Q150", "French"),
    item("Q6256", "country"),
    item("Q3624078", "sovereign state"),
    item("Q35657", "state"),
    item("Q515", "city"),
    item("Q11344", "element"),
]  # fmt: skip
"""The objects' labels stand behind the statements, as in a dump."""


def as_array(entities: list[dict[str, Any]]) -> str:
    """As a dump: an array, one entity per line."""
    return "[\n" + ",\n".join(json.dumps(entity, ensure_ascii=False) for entity in entities) + "\n]\n"


def as_lines(entities: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entity, ensure_ascii=False) + "\n" for entity in entities)


_WD, _WDT = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
_ALIAS = "http://www.w3.org/2004/02/skos/core#altLabel"
_DBO, _DBR = "http://dbpedia.org/ontology/", "http://dbpedia.org/resource/"
_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_XSD = "http://www.w3.org/2001/XMLSchema#"

N_TRIPLES = f"""\
# as Wikidata's truthy dumps and DBpedia write them
<{_WD}Q142> <{_WDT}P36> <{_WD}Q90> .
<{_WD}Q142> <{_WDT}P31> <{_WD}Q6256> .
<{_WD}Q142> <http://wikiba.se/ontology#sitelinks> "300"^^<{_XSD}integer> .
<{_WD}Q142> <{_WDT}P571> "1792-09-22T00:00:00Z"^^<{_XSD}dateTime> .
<{_WD}Q142> <{_WDT}P1549> "French"@en .
<{_WD}Q142> <{_WDT}P1549> "fran\\u00E7ais"@fr .
<{_WD}Q142> <{_WDT}P999> <{_WD}Q1> .
<{_WD}Q99> <{_WDT}P36> <{_WD}Q18013> .
<{_WD}Q99> <{_WDT}P31> <{_WD}Q35657> .
<{_WD}Q560> <{_WDT}P1086> "+2"^^<{_XSD}decimal> .
<{_WD}Q937> <{_WDT}P569> "1879-03-14T00:00:00Z"^^<{_XSD}dateTime> .
<{_WD}Q5001> <{_WDT}P36> <{_WD}Q90> .
_:b1 <{_WDT}P36> <{_WD}Q90> .
this is no triple
<{_DBR}Switzerland> <{_DBO}officialLanguage> <{_DBR}German> .
<{_DBR}Faust> <{_DBO}author> <{_DBR}Goethe> .
<{_WD}Q142> <{_LABEL}> "France"@en .
<{_WD}Q142> <{_LABEL}> "Frankreich"@de .
<{_WD}Q142> <{_ALIAS}> "French Republic"@en .
<{_WD}Q90> <{_LABEL}> "Paris"@en .
<{_WD}Q6256> <{_LABEL}> "country"@en .
<{_WD}Q35657> <{_LABEL}> "state"@en .
<{_WD}Q99> <{_LABEL}> "California"@en .
<{_WD}Q18013> <{_LABEL}> "Sacramento"@en .
<{_WD}Q560> <{_LABEL}> "helium"@en .
<{_WD}Q937> <{_LABEL}> "Albert Einstein"@en .
<{_WD}Q5001> <{_LABEL}> "Q5001"@en .
<{_DBR}Switzerland> <{_LABEL}> "Switzerland" .
<{_DBR}German> <{_LABEL}> "German"@en .
<{_DBR}Faust> <{_LABEL}> "Faust"@en .
<{_DBR}Faust> <{_TYPE}> <{_DBO}Play> .
<{_DBR}Goethe> <{_LABEL}> "Johann Wolfgang von Goethe"@en .
"""
