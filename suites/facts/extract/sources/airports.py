"""Airports with an IATA code: the package airportsdata."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source

CITY_FROM = 50_000
AIRPORT = ("Airport", "Airfield", "Airpark", "Aerodrome")


def facts(material: Material) -> Iterator[Fact]:
    """Read city and country of the airports of cities of some size."""
    path = material.packages.python("airportsdata", "airportsdata/airports.csv")
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            city = material.places.city(row["city"], row["country"]) if row["city"] else None
            name = row["name"].replace(" Int'l ", " International ").strip()
            if not row["iata"] or city is None or city.population < CITY_FROM or "/" in name:
                continue
            if not name.endswith(AIRPORT) or name == "Airport":
                continue
            code = (row["iata"],)
            country = city.country
            yield Fact(name, "P931", city.label, "airport", "city", city.population, code, city.aliases)
            yield Fact(
                name, "P17", country.label, "airport", country.kind, city.population, code, country.aliases,
                object_article=country.article,
            )  # fmt: skip


SOURCE = Source(
    name="airports",
    packages=(("PyPI", "airportsdata"),),
    license="MIT",
    attribution="airportsdata, Copyright (c) 2020 Mike Borsetti, with data of mwgg/Airports, MIT.",
    date="2026-09-05",
    taken="city and country of airports with an IATA code, of cities of at least 50,000 inhabitants",
    popularity="inhabitants of the city",
    facts=facts,
)
