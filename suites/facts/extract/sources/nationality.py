"""Adjectives of countries: the package i18n-nationality."""

from __future__ import annotations

from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source

from .geonames import country_fact


def facts(material: Material) -> Iterator[Fact]:
    """Read the adjective of each country."""
    names = material.packages.json("i18n-nationality/langs/en.json")["nationalities"]
    for country in material.places.sovereign:
        if country.code in names and " or " not in names[country.code]:
            yield country_fact(country, "P1549", names[country.code], "demonym")


SOURCE = Source(
    name="nationality",
    packages=(("npm", "i18n-nationality"),),
    license="MIT",
    attribution="i18n-nationality, Copyright (c) 2016 widdix GmbH, MIT.",
    date="2023",
    taken="the adjective of a country",
    popularity="inhabitants of the country",
    facts=facts,
)
