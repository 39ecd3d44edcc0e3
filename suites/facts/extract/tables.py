"""Writes what ships: one table per source, sources.toml, and what the sources disagree on."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .agreement import Report
from .model import Fact, Source
from .packages import Packages

COLUMNS = (
    "subject", "relation", "object", "subject_aliases", "object_aliases", "subject_kind", "object_kind",
    "subject_article", "object_article", "subject_number", "popularity", "source", "license", "date",
)  # fmt: skip
MOST_ALIASES = 6


def write_table(path: Path, facts: Iterable[Fact], source: Source) -> None:
    """Write a table; the same facts give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for fact in sorted(facts, key=lambda fact: (fact.relation, -fact.popularity, fact.subject, fact.object)):
        writer.writerow(_row(fact, source))
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as file:
        file.write(text.getvalue().encode("utf-8"))


def _row(fact: Fact, source: Source) -> tuple[str, ...]:
    return (
        fact.subject,
        fact.relation,
        fact.object,
        _aliases(fact.subject, fact.subject_aliases),
        _aliases(fact.object, fact.object_aliases),
        fact.subject_kind,
        fact.object_kind,
        fact.subject_article,
        fact.object_article,
        fact.subject_number,
        f"{fact.popularity:.0f}",
        fact.source,
        source.license,
        source.date,
    )


def _aliases(label: str, aliases: Sequence[str]) -> str:
    """Aliases in one cell. Those that only differ in accents or case from the label say nothing more."""
    kept = [alias for alias in dict.fromkeys(aliases) if alias and alias != label and "|" not in alias]
    return "|".join(kept[:MOST_ALIASES])


def write_sources(path: Path, sources: Iterable[Source], packages: Packages, counts: Counter[str]) -> None:
    """Write sources.toml."""
    lines = ["# Where the facts are from. Written by `python -m suites.facts.extract`; docs/facts.md says more."]
    for source in sources:
        of = [f"{name} {packages.versions[registry, name]} ({registry})" for registry, name in source.packages]
        lines += [
            "",
            f"[{source.name}]",
            f"packages = {_array(of)}",
            f"license = {_string(source.license)}",
            f"attribution = {_string(source.attribution)}",
            f"date = {_string(source.date)}",
            f"taken = {_string(source.taken)}",
            f"popularity = {_string(source.popularity)}",
            f"facts = {counts[source.name]}",
        ]
    lines += [
        "",
        "[overrides]",
        "packages = []",
        'license = "MIT"',
        'attribution = "Decided for this project; extract/overrides.csv says what each rests on, '
        'or that it is general knowledge."',
        'date = "2026"',
        'taken = "what the sources say that is outdated; what is disputed is left out"',
        'popularity = "as in the source that is corrected"',
        f"facts = {counts['overrides']}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_string, values)) + "]"


def write_disagreements(path: Path, report: Report) -> None:
    """Write what sources say differently."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("subject", "relation", "said", "decision"))
        writer.writerows(sorted(report.disagreements))
