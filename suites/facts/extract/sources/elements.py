"""Chemical elements: the package mendeleev, whose database is read as it lies there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source

NOW = 2026
KNOWN_SINCE_ANTIQUITY = 3000
SPELLINGS = {"aluminum": ("aluminium",), "cesium": ("caesium",), "sulfur": ("sulphur",), "mercury": ("quicksilver",)}
LAST_OF_KNOWN_SERIES = 108
"""Of heavier elements too few atoms were made to tell."""

SERIES = {
    "Noble gases": ("noble gas", ("noble gases",)),
    "Poor metals": ("post-transition metal", ("poor metal", "post-transition metals", "poor metals")),
}


def facts(material: Material) -> Iterator[Fact]:
    """Read symbol, number, series, period and block of each element."""
    path = material.packages.python("mendeleev", "mendeleev/elements.db")
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    query = (
        "select e.name, e.symbol, e.atomic_number, s.name, e.period, e.block, e.discovery_year "
        "from elements e join series s on s.id = e.series_id order by e.atomic_number"
    )
    try:
        rows = database.execute(query).fetchall()
    finally:
        database.close()
    for name, symbol, number, series, period, block, year in rows:
        label = name.lower()
        known = float(NOW - year if year and year > 0 else KNOWN_SINCE_ANTIQUITY)
        single = series.removesuffix("s").lower()
        of_series = SERIES.get(series, (single, (f"{single}s",)))
        objects: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
            ("P246", symbol, "symbol", ()),
            ("P1086", str(number), "number", ()),
            ("element-series", of_series[0], "series", of_series[1]),
            ("element-period", str(period), "period", ()),
            ("element-block", block, "block", ()),
        )
        for relation, object_, kind, aliases in objects:
            if relation == "element-series" and number > LAST_OF_KNOWN_SERIES:
                continue
            yield Fact(label, relation, object_, "element", kind, known, SPELLINGS.get(label, ()), aliases)


SOURCE = Source(
    name="elements",
    packages=(("PyPI", "mendeleev"),),
    license="MIT",
    attribution="mendeleev, Copyright (c) 2015 Lukasz Mentel, MIT.",
    date="2025",
    taken="symbol, atomic number, series, period and block of the chemical elements",
    popularity="years since the discovery, 3000 where it is older than records",
    facts=facts,
)
