"""Reading and splitting the facts that MEND's network is trained on: what ``editpitfalls train-mend --data`` names.

What is trained on comes from a JSON-lines file, from a suite, or from a directory of suites. A fact is left out when
its subject is spoken of in a suite that ships or in an excluded file; training and validation share no subject.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pytest_editpitfalls.cases.case import Case, fill
from pytest_editpitfalls.engine.editors.mend.data import Continuation, TrainingData, TrainingFact, folded
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import read_bounded
from pytest_editpitfalls.program import EditRequest
from pytest_editpitfalls.suites.discovery import is_suite, shipped_suites
from pytest_editpitfalls.suites.suite import load_suite

VALIDATION_SHARE = 0.1
"""Share of the subjects that are kept for validation."""

MIN_FACTS = 20
"""Fewer training or validation facts than this are refused."""


class _Locality(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class _Line(BaseModel):
    """One line of a JSON-lines file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    prompt: str
    subject: str = Field(min_length=1)
    target_new: str = Field(min_length=1)
    target_true: str | None = None
    rephrase: list[str] = Field(min_length=1)
    locality: _Locality | None = None

    @field_validator("prompt")
    @classmethod
    def _has_braces(cls, value: str) -> str:
        if "{}" not in value:
            raise ValueError("a prompt needs a {} where the subject stands")
        return value

    def fact(self) -> TrainingFact:
        request = EditRequest(self.prompt, self.subject, self.target_new, self.target_true)
        locality = Continuation(self.locality.prompt, self.locality.answer) if self.locality else None
        return TrainingFact(request, tuple(fill(text, self.subject) for text in self.rephrase), locality)


def load_training_data(
    data: Path, *, exclude: Sequence[Path] = (), max_facts: int | None = None, seed: int = 0
) -> TrainingData:
    """Read and split the facts of ``data``.

    Args:
        data: a `.jsonl` file, a suite (`.toml` or published `.json`), or a directory of suites.
        exclude: suites whose subjects are left out as well.
        max_facts: facts to train on at most, drawn by ``seed``; validation facts are not fewer for it.
        seed: seed of the split.

    Raises:
        UsageError: a file is missing or wrong, or too few facts are left.
    """
    sources: dict[str, str] = {}
    facts = [fact for path in _files(data) for fact in _read(path, sources)]
    shipped = _subjects(load_suite(name).cases for name in shipped_suites())
    excluded = _subjects(load_suite(path).cases for path in exclude)
    left_out = {"subject in a shipped suite": 0, "subject in an excluded file": 0, "repeated": 0}
    kept: dict[tuple[str, str], TrainingFact] = {}
    for fact in facts:
        subject = folded(fact.request.subject)
        key = (subject, fact.request.prompt)
        if subject in shipped:
            left_out["subject in a shipped suite"] += 1
        elif subject in excluded:
            left_out["subject in an excluded file"] += 1
        elif key in kept:
            left_out["repeated"] += 1
        else:
            kept[key] = fact
    training, validation = _split(list(kept.values()), seed)
    if min(len(training), len(validation)) < MIN_FACTS:
        raise UsageError(
            f"{len(training)} facts to train on and {len(validation)} to validate with are too few",
            where=str(data),
            fix=f"give at least {MIN_FACTS} facts of each; {VALIDATION_SHARE:.0%} of the subjects are for "
            f"validation, and left out were: {_counts(left_out)}",
        )
    if max_facts is not None and max_facts < len(training):
        left_out["beyond max_facts"] = len(training) - max_facts
        training = tuple(random.Random(f"{seed}/facts").sample(training, max_facts))
    return TrainingData(training, validation, left_out, sources)


def _files(data: Path) -> list[Path]:
    if data.is_dir():
        found = sorted(path for path in data.iterdir() if path.suffix == ".jsonl" or is_suite(path))
        # The rows of a suite in the own format lie beside its header, and are read through it.
        headers = {path.stem for path in found if path.suffix == ".toml"}
        found = [path for path in found if path.suffix != ".jsonl" or path.stem not in headers]
        if found:
            return found
    elif data.is_file():
        return [data]
    raise UsageError(
        "there is no such file" if not data.is_dir() else "the directory holds no suite and no .jsonl file",
        where=str(data),
        fix="give --data a .jsonl file of edits, a suite, or a directory of suites (docs/mend.md)",
    )


def _read(path: Path, sources: dict[str, str]) -> list[TrainingFact]:
    if path.suffix != ".jsonl":
        suite = load_suite(path)
        sources[path.name] = suite.digest
        return [_of_case(case) for case in suite.cases]
    raw = read_bounded(path)
    sources[path.name] = hashlib.sha256(raw).hexdigest()
    facts = []
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            facts.append(_Line.model_validate_json(line).fact())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"{field}: {first['msg']}" if field else first["msg"],
                where=f"{path}, line {number}",
                fix="each line is an object with prompt (with {}), subject, target_new, rephrase (a list)",
            ) from None
    return facts


def _of_case(case: Case) -> TrainingFact:
    """Edit 1 of a case, with the relation's paraphrases."""
    edit = case.edits[0]
    relation = case.relation(edit.relation)
    request = EditRequest(relation.prompt, edit.subject, edit.new_object, edit.object, relation.id)
    return TrainingFact(request, relation.questions(edit.subject)[1:])


def _subjects(suites: Iterable[Iterable[Case]]) -> set[str]:
    """Everything that is spoken of as a subject."""
    found: set[str] = set()
    for cases in suites:
        for case in cases:
            found.update(folded(fact.subject) for fact in case.row.named_facts().values())
            found.update(folded(held.fact.subject) for held in case.held)
    return found


def _split(facts: Sequence[TrainingFact], seed: int) -> tuple[tuple[TrainingFact, ...], tuple[TrainingFact, ...]]:
    """Facts for training and validation, without a common subject; the order of ``facts`` is kept."""
    subjects = sorted({folded(fact.request.subject) for fact in facts})
    random.Random(seed).shuffle(subjects)
    chosen = set(subjects[: round(VALIDATION_SHARE * len(subjects))])
    training = tuple(fact for fact in facts if folded(fact.request.subject) not in chosen)
    validation = tuple(fact for fact in facts if folded(fact.request.subject) in chosen)
    return training, validation


def _counts(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
