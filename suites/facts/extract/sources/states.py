"""Capitals of the states of the USA: the package us."""

from __future__ import annotations

from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source


def facts(material: Material) -> Iterator[Fact]:
    """Read the capital of each state."""
    import us

    for state in us.states.STATES:
        city = material.places.city(state.capital, "US")
        inhabitants = sum(
            c.population for c in material.places.cities if c.country.code == "US" and c.region == state.abbr
        )
        label = city.label if city and city.region == state.abbr else state.capital
        if state.abbr in material.places.states:
            yield Fact(state.name, "P36-state", label, "state", "city", inhabitants)


SOURCE = Source(
    name="states",
    packages=(("PyPI", "us"), ("PyPI", "jellyfish")),
    license="BSD-3-Clause",
    attribution="us, Copyright (c) 2014 Sunlight Labs, BSD-3-Clause. (jellyfish, MIT, is only needed to import it.)",
    date="2025",
    taken="capitals of the states of the USA",
    popularity="inhabitants of the state's cities of at least 15,000",
    facts=facts,
)
