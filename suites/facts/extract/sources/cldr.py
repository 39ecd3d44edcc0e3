"""Unicode CLDR: languages, scripts, currencies and regions of the world."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from suites.facts.extract.model import Fact, Material, Source
from suites.facts.extract.places import CONTINENTS, TWO_CONTINENTS, Country

SPOKEN_BY = 15.0
"""Percent of the inhabitants from which a language counts as spoken in a country."""

ONLY_COUNTRY = 0.8
"""Share of a language's speakers who live in the country that is called its only one."""

FEWEST_SPEAKERS = 100_000

SUBREGIONS = {
    "011": "Western Africa", "014": "Eastern Africa", "015": "Northern Africa", "017": "Middle Africa",
    "018": "Southern Africa", "013": "Central America", "029": "Caribbean", "030": "Eastern Asia",
    "034": "Southern Asia", "035": "Southeast Asia", "143": "Central Asia", "145": "Western Asia",
    "039": "Southern Europe", "151": "Eastern Europe", "154": "Northern Europe", "155": "Western Europe",
    "054": "Melanesia", "061": "Polynesia", "053": "Australasia",
}  # fmt: skip
OTHER_NAMES = {
    "011": ("West Africa",), "014": ("East Africa",), "015": ("North Africa",), "017": ("Central Africa",),
    "018": ("South Africa",), "030": ("East Asia",), "034": ("South Asia",), "035": ("Southeastern Asia",),
    "145": ("West Asia", "Middle East"), "039": ("South Europe",), "151": ("East Europe",),
    "154": ("North Europe",), "155": ("West Europe",),
}  # fmt: skip
WORLD = {"002": "AF", "142": "AS", "150": "EU", "009": "OC", "005": "SA", "003": "NA"}
CURRENCY_LABELS = {
    "CNY": "yuan",
    "ILS": "shekel",
    "GBP": "British pound",
    "USD": "US dollar",
    "KRW": "South Korean won",
}


def facts(material: Material) -> Iterator[Fact]:
    """Read languages, scripts, currencies and regions."""
    info = material.packages.json("cldr-core/supplemental/territoryInfo.json")["supplemental"]["territoryInfo"]
    yield from _languages(material, info)
    yield from _scripts(material, info)
    yield from _regions(material)
    yield from _currencies(material)


def _tables(material: Material) -> dict[str, Any]:
    path = "cldr-numbers-full/main/en/currencies.json"
    names: dict[str, Any] = material.packages.json(path)["main"]["en"]["numbers"]["currencies"]
    return names


@cache
def _current(packages: Any) -> dict[str, list[str]]:
    """Currencies that are legal tender in each country now."""
    data = packages.json("cldr-core/supplemental/currencyData.json")["supplemental"]["currencyData"]["region"]
    found = {}
    for code, history in data.items():
        records = [(name, when) for record in history for name, when in record.items()]
        # While one follows the other both are tender for some weeks: the later one is meant.
        valid = [(when.get("_from", ""), name) for name, when in records if "_to" not in when]
        found[code] = [name for _, name in sorted(valid) if "_tender" not in dict(records)[name]]
    return found


@cache
def _units(packages: Any) -> Counter[str]:
    """How many currencies that are in use are called dollar, franc, yen."""
    names = packages.json("cldr-numbers-full/main/en/currencies.json")["main"]["en"]["numbers"]["currencies"]
    used = {code for codes in _current(packages).values() for code in codes}
    return Counter(_one(names[code]).split()[-1].lower() for code in used if code in names)


def _one(name: dict[str, str]) -> str:
    return name.get("displayName-count-one", name["displayName"])


def currency(material: Material, code: str) -> tuple[str, tuple[str, ...]]:
    """Return the name and further names of a currency: "yen", but "Swiss franc", as there are other francs."""
    name = _one(_tables(material)[code])
    unit = name.split()[-1]
    label = CURRENCY_LABELS.get(code) or (unit if _units(material.packages)[unit.lower()] == 1 else name)
    return label, tuple(dict.fromkeys(other for other in (name, unit, code) if other != label))


def _currencies(material: Material) -> Iterator[Fact]:
    for country in material.places.sovereign:
        codes = _current(material.packages).get(country.code, [])
        for code in codes:
            label, aliases = currency(material, code)
            yield _of_country(country, "P38", label, "currency", aliases=aliases)


def _languages(material: Material, info: dict[str, Any]) -> Iterator[Fact]:
    places = material.places
    speakers: dict[str, dict[str, float]] = defaultdict(dict)
    of_any_status: dict[str, set[str]] = defaultdict(set)
    official: dict[str, set[str]] = defaultdict(set)
    for code, record in info.items():
        for tag, of in record.get("languagePopulation", {}).items():
            language = tag.split("_")[0]
            share = float(of["_populationPercent"])
            speakers[language][code] = speakers[language].get(code, 0.0) + share / 100 * float(record["_population"])
            if "_officialStatus" in of:
                of_any_status[language].add(code)
            if of.get("_officialStatus") == "official":
                official[language].add(code)
            country = places.countries.get(code)
            if country is None or country.kind != "country" or language not in places.languages:
                continue
            label, aliases = places.languages[language]
            if of.get("_officialStatus") == "official" and share > 0:
                yield _of_country(country, "P37", label, "language", aliases=aliases)
            listed = {name.split("-")[0] for name in country.record["languages"].split(",")}
            if share >= SPOKEN_BY and language in listed:
                yield _of_country(country, "P2936", label, "language", share / 100, aliases)
    for language, by_country in speakers.items():
        total = sum(by_country.values())
        code, most = max(by_country.items(), key=lambda item: item[1])
        country = places.countries.get(code)
        if (
            official[language] == of_any_status[language] == {code}  # not in a region only, as Welsh is
            and country
            and country.kind == "country"
            and language in places.languages
            and total >= FEWEST_SPEAKERS
            and most >= ONLY_COUNTRY * total
        ):
            label, aliases = places.languages[language]
            yield Fact(
                label, "P37R", country.label, "language", "country", round(total), aliases, country.aliases,
                object_article=country.article,
            )  # fmt: skip


def _of_country(
    country: Country, relation: str, object_: str, kind: str, share: float = 1.0, aliases: tuple[str, ...] = ()
) -> Fact:
    return Fact(
        country.label, relation, object_, "country", kind, round(country.population * share), country.aliases, aliases,
        subject_article=country.article,
    )  # fmt: skip


def _scripts(material: Material, info: dict[str, Any]) -> Iterator[Fact]:
    data = material.packages.json("cldr-core/supplemental/languageData.json")["supplemental"]["languageData"]
    names = material.packages.json("cldr-localenames-full/main/en/scripts.json")["main"]["en"]["localeDisplayNames"]
    speakers: Counter[str] = Counter()
    for record in info.values():
        for tag, of in record.get("languagePopulation", {}).items():
            speakers[tag.split("_")[0]] += round(float(of["_populationPercent"]) / 100 * float(record["_population"]))
    for language, (label, aliases) in material.places.languages.items():
        scripts = data.get(language, {}).get("_scripts", [])
        if len(scripts) != 1 or f"{language}-alt-secondary" in data or speakers[language] < FEWEST_SPEAKERS:
            continue
        script = names["scripts"].get(scripts[0])
        if script and script not in ("Simplified", "Traditional"):
            yield Fact(label, "P282", script, "language", "script", speakers[language], aliases)


def _regions(material: Material) -> Iterator[Fact]:
    places = material.places

    def members(region: str) -> set[str]:
        found: set[str] = set()
        for code in places.containment.get(region, {}).get("_contains", []):
            found |= members(code) if code.isdigit() else {code}
        return found

    for region, continent in WORLD.items():
        for code in sorted(members(region) - TWO_CONTINENTS):
            if code in places.countries and places.countries[code].kind == "country":
                yield _of_country(places.countries[code], "P30", CONTINENTS[continent], "continent")
    for region, label in SUBREGIONS.items():
        for code in sorted(members(region) - TWO_CONTINENTS):
            if code in places.countries and places.countries[code].kind == "country":
                yield _of_country(
                    places.countries[code], "subregion", label, "subregion", aliases=OTHER_NAMES.get(region, ())
                )


SOURCE = Source(
    name="cldr",
    packages=(("npm", "cldr-core"), ("npm", "cldr-localenames-full"), ("npm", "cldr-numbers-full")),
    license="Unicode-3.0",
    attribution="Unicode Common Locale Data Repository, Copyright © 2004-2026 Unicode, Inc., Unicode License v3.",
    date="2025",
    taken="official and spoken languages, the only country of a language, scripts, currencies, continents and "
    "subregions; English names of countries, languages and currencies",
    popularity="inhabitants of the country (of a spoken language: those who speak it); speakers of the language",
    facts=facts,
)
