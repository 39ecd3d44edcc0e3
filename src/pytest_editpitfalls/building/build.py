"""A build from start to end: facts and rules in, suites and their datasheet out."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.pitfalls._construction import Group
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.readers.own_format import MAX_OBJECTS

from .asking import Asked, Model
from .closeness import Closeness
from .datasheet import as_markdown, datasheet
from .selection import BuiltSuite, Selection
from .settings import BuildSettings, plans
from .sharing import Sharing
from .wordings import Wordings
from .writing import check_directory, write_suites

JOURNAL = "answers.jsonl"
SHEET = "datasheet"


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how a build goes.

    Attributes:
        chosen: called with a suite, its cases so far and those that are wanted.
        asked: called with the questions that were put, and how many answers were there from an earlier build.
    """

    chosen: Callable[[str, int, int], None] = lambda suite, cases, wanted: None
    asked: Callable[[int, int], None] = lambda asked, kept: None


def check(knowledge: Knowledge, settings: BuildSettings, out: Path) -> None:
    """Refuse a build that cannot give a case or would spoil others, before a model is loaded.

    Raises:
        UsageError: no suite has a rule or relation that the facts allow a case of, a relation has more objects than a
            suite can list, or other suites lie in ``out``.
    """
    check_directory(settings, out)
    constructions = [plans()[name].construction for name in settings.suites]
    asked = [(each, group) for each in constructions for group in each.groups(knowledge)]
    _check_objects(knowledge, (group for _, group in asked))
    if any(True for construction, group in asked for _ in construction.candidates(knowledge, group)):
        return
    tried = dict.fromkeys(group.name for _, group in asked)
    names = " or ".join(f"'{name}'" for name in settings.suites)
    raise UsageError(
        f"no case of {names} can be made of these {len(knowledge):,} facts (tried: {', '.join(tried) or 'none'})",
        where="--facts",
        fix="give further facts or rules, or name other suites",
    )


def _check_objects(knowledge: Knowledge, groups: Iterable[Group]) -> None:
    asked = dict.fromkeys(
        relation
        for group in groups
        for relation in (group.relation, group.rule.tied if group.rule is not None else None)
        if relation is not None
    )
    for relation in asked:
        if (count := len(knowledge.objects(relation))) > MAX_OBJECTS:
            raise UsageError(
                f"relation '{relation}' has {count:,} objects, but a suite can list {MAX_OBJECTS:,}",
                where="--facts",
                fix="give its best known facts alone, or relations and rules without it",
            )


def build(
    model: Model,
    name: str,
    knowledge: Knowledge,
    settings: BuildSettings,
    out: Path,
    memory_gb: Callable[[], float],
    watch: Watch = Watch(),
) -> dict[str, Any]:
    """Build suites for a model and write them, with their datasheet, into a directory.

    A suite without a case is in the datasheet with its reasons, and no file of it is written.

    Answers of the model are kept in ``out`` while the build runs: started again, it goes on where it was.

    Args:
        model: whose knowledge counts.
        name: of the model.
        memory_gb: says how much memory the process took at most.

    Returns:
        The datasheet.

    Raises:
        UsageError: no case can be built, or a file cannot be written.
    """
    started = time.perf_counter()
    check(knowledge, settings, out)
    wordings = Wordings(knowledge, settings)
    asked = Asked(model, out / JOURNAL, watch.asked)
    chosen = [plans()[suite] for suite in settings.suites]
    sharing = Sharing(list(plans().values()), knowledge, settings)
    closeness = Closeness(asked, wordings, settings)
    suites = [
        Selection(plan, knowledge, wordings, asked, settings, sharing.may_use, closeness, watch.chosen).run()
        for plan in chosen
    ]
    full = [suite for suite in suites if suite.cases]
    if not full:
        raise UsageError(
            f"not one case of {' or '.join(suite.plan.name for suite in suites)} is left: {_reasons(suites)}",
            where="--model",
            fix="give further facts, or ask for less (--held-paraphrases, --held-scores)",
        )
    run: Mapping[str, Any] = {
        "model": name,
        "fingerprint": model.fingerprint,
        "questions": asked.asked,
        "answered_before": asked.kept,
        "seconds": round(time.perf_counter() - started, 1),
        "memory_gb": round(memory_gb(), 2),
    }
    sheet = datasheet(suites, knowledge, wordings, settings, run)
    licenses = sorted({source["license"] for source in sheet["facts"]["sources"]})
    for suite in suites:
        if not suite.cases:
            for ending in ("toml", "jsonl"):  # of an earlier build
                (out / f"{suite.plan.name}.{ending}").unlink(missing_ok=True)
    write_suites(
        full,
        wordings,
        settings,
        out,
        license="; ".join(licenses),
        provenance=f"Built by editpitfalls suites build for {name}, seed {settings.seed}; sources: {SHEET}.md.",
    )
    for suite in full:
        load_suite(out / f"{suite.plan.name}.toml")  # what cannot be read is noticed here, not by whoever runs it
    write_text(json.dumps(sheet, indent=1, ensure_ascii=False) + "\n", out / f"{SHEET}.json", where="--out")
    write_text(as_markdown(sheet), out / f"{SHEET}.md", where="--out")
    return sheet


def _reasons(suites: Sequence[BuiltSuite]) -> str:
    counts: Counter[str] = Counter()
    for suite in suites:
        for group in suite.counts:
            counts.update(group.refused)
    return "; ".join(
        f"{number:,} times {reason}" for reason, number in sorted(counts.items(), key=lambda each: -each[1])
    )
