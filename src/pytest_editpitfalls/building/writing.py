"""The files of the suites that were built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import plain_name
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.pitfalls._construction import PLURAL

from .selection import BuiltSuite
from .settings import BuildSettings, plans
from .wordings import Wordings

RELATIONS, OBJECTS = "relations.toml", "objects.json"
_BARE = re.compile("[A-Za-z0-9_-]+")
_LONGEST = 50
"""Characters of a relation's id in the id of a case."""


def numbered(suite: BuiltSuite) -> list[dict[str, Any]]:
    """Return the lines of a suite, each with its id: the relation that edit 1 is about, and a number."""
    numbers: dict[str, int] = {}
    rows = []
    for case in suite.cases:
        relation = plain_name(case.candidate.group.relation).lstrip("_.-")[:_LONGEST] or "case"
        numbers[relation] = numbers.get(relation, 0) + 1
        rows.append({"id": f"{relation}-{numbers[relation]:04d}", **case.row})
    return rows


def check_directory(settings: BuildSettings, out: Path) -> None:
    """Refuse a directory with suites that this build would leave without their relations and objects.

    Raises:
        UsageError: such suites are there.
    """
    there = [name for name in plans() if name not in settings.suites and (out / f"{name}.toml").exists()]
    if there:
        raise UsageError(
            f"suites of an earlier build are there: {', '.join(there)}; this one would overwrite their relations and "
            "objects",
            where=f"--out={out}",
            fix=f"name another directory, or build all of them: --suites={','.join((*there, *settings.suites))}",
        )


def write_suites(
    suites: Sequence[BuiltSuite],
    wordings: Wordings,
    settings: BuildSettings,
    out: Path,
    *,
    license: str,
    provenance: str,
) -> list[Path]:
    """Write headers, cases, relations and objects into a directory.

    Raises:
        UsageError: a file cannot be written.
    """
    rows = {suite.plan.name: numbered(suite) for suite in suites}
    paths = []
    for suite in suites:
        name = suite.plan.name
        header = _header(suite, settings, license, provenance)
        paths.append(_write(out / f"{name}.toml", header))
        paths.append(_write(out / f"{name}.jsonl", "".join(f"{_json(row)}\n" for row in rows[name])))
    used = sorted(
        {name for suite in suites for row in rows[suite.plan.name] for name in _relations(suite.plan.kind, row)}
    )
    paths.append(_write(out / RELATIONS, "\n".join(_table(wordings[relation]) for relation in used)))
    paths.append(_write(out / OBJECTS, _objects(suites, wordings)))
    return paths


def _header(suite: BuiltSuite, settings: BuildSettings, license: str, provenance: str) -> str:
    thresholds = PITFALLS.get(suite.plan.kind).thresholds
    unasked = "default = false\n"
    return (
        "format = 1\n"
        f"name = {_json(suite.plan.name)}\n"
        f"kind = {_json(suite.plan.kind)}\n"
        f"license = {_json(license)}\n"
        f"provenance = {_json(provenance)}\n"
        f'relations = "{RELATIONS}"\n'
        f"cases = {_json(suite.plan.name + '.jsonl')}\n"
        f"thresholds = {_json(list(thresholds))}\n"
        f"{'' if suite.plan.construction.default else unasked}"
        "\n[held]\n"
        f"scores = {_json(list(settings.scores))}\n"
        f"paraphrases = {settings.paraphrases}\n"
        f'objects = "{OBJECTS}"\n'
    )


def _table(relation: Relation) -> str:
    lines = [f"[{_key(relation.id)}]", f"label = {_json(relation.label)}"]
    if relation.variant_of:
        lines.append(f"variant_of = {_json(relation.variant_of)}")
    if relation.joiner != " ":
        lines.append(f"joiner = {_json(relation.joiner)}")
    lines += ["sentence_case = true", f"prompt = {_json(relation.prompt)}"]
    if relation.query:
        lines.append(f"query = {_json(relation.query)}")
    lines += ["paraphrases = [", *(f"  {_json(text)}," for text in relation.paraphrases), "]"]
    return "\n".join(lines) + "\n"


def _objects(suites: Iterable[BuiltSuite], wordings: Wordings) -> str:
    """For each relation all objects that compete, and which of them are true of the subjects that are asked."""
    found: dict[str, dict[str, Any]] = {}
    for suite in suites:
        for case in suite.cases:
            for fact in case.candidate.asked:
                entry = found.setdefault(fact.relation, {"objects": list(wordings.objects(fact.relation)), "true": {}})
                true = [label for label in wordings.true_labels(fact) if label != fact.to.in_text]
                if true:
                    entry["true"][fact.of.in_text] = [fact.to.in_text, *true]
    lines = [f" {_json(relation)}: {_json(entry)}" for relation, entry in sorted(found.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _relations(kind: str, row: Mapping[str, Any]) -> list[str]:
    """The relations that a line speaks of, and those that they are variants of."""
    facts = PITFALLS.get(kind).row.model_validate_json(json.dumps(row)).named_facts().values()
    return [name for fact in facts for name in (fact.relation, fact.relation.removesuffix(PLURAL))]


def _write(path: Path, text: str) -> Path:
    write_text(text, path, where="--out")
    return path


def _key(name: str) -> str:
    """A key of TOML: bare where it may be."""
    return name if _BARE.fullmatch(name) else _json(name)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
