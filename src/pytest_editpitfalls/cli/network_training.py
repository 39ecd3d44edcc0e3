"""Training an editor's network: what ``editpitfalls train-NAME`` runs, from the facts of ``--data`` to its file.

What is trained on comes from a JSON-lines file, from a suite, or from a directory of suites. A fact is left out when
its subject is spoken of in a suite that ships or in an excluded file; training and validation share no subject. The
loop itself is in `engine.hypernetworks.loop`.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from rich.console import Console

from pytest_editpitfalls.cases.case import Case, fill
from pytest_editpitfalls.engine import models
from pytest_editpitfalls.engine.batches_of_model import CPU_TOKENS, GPU_TOKENS
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.experts import check_experts
from pytest_editpitfalls.engine.editors.resolution import as_option, resolve_hyperparameters
from pytest_editpitfalls.engine.hypernetworks.checkpoint import checkpoint_path
from pytest_editpitfalls.engine.hypernetworks.data import Continuation, TrainingData, TrainingFact, folded
from pytest_editpitfalls.engine.hypernetworks.display import TrainingDisplay
from pytest_editpitfalls.engine.hypernetworks.hyperparameters import TrainingHyperparameters
from pytest_editpitfalls.engine.hypernetworks.loop import TrainingRun
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.files import read_bounded
from pytest_editpitfalls.outputs import check_writable, is_standard_output
from pytest_editpitfalls.program import EditRequest
from pytest_editpitfalls.suites.discovery import is_suite, shipped_suites
from pytest_editpitfalls.suites.suite import load_suite, load_suites
from pytest_editpitfalls.validation import usage_error

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
    joiner: Literal[" ", ""] = " "

    @field_validator("prompt")
    @classmethod
    def _has_braces(cls, value: str) -> str:
        if "{}" not in value:
            raise ValueError("a prompt needs a {} where the subject stands")
        return value

    def fact(self) -> TrainingFact:
        request = EditRequest(self.prompt, self.subject, self.target_new, self.target_true, joiner=self.joiner)
        locality = Continuation(self.locality.prompt, self.locality.answer, self.joiner) if self.locality else None
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
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UsageError(
            f"{len(training)} facts to train on and {len(validation)} to validate with are too few",
            where=str(data),
            fix=f"give at least {MIN_FACTS} facts of each; {VALIDATION_SHARE:.0%} of the subjects are for "
            f"validation, and left out were: {counts}",
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
        suites = load_suites([str(path)])
        sources[path.name] = suites[0].digest
        return [_of_case(case) for suite in suites for case in suite.cases]
    raw = read_bounded(path)
    sources[path.name] = hashlib.sha256(raw).hexdigest()
    facts = []
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            facts.append(_Line.model_validate_json(line).fact())
        except ValidationError as error:
            raise usage_error(error, f"{path}, line {number}", _Line) from None
    return facts


def _of_case(case: Case) -> TrainingFact:
    """Edit 1 of a case, with the relation's paraphrases."""
    edit = case.edits[0]
    relation = case.relation(edit.relation)
    request = EditRequest(
        relation.prompt,
        relation.written(edit.subject),
        edit.new_object,
        edit.object,
        relation.base,
        relation.joiner,
    )
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


def training_options(editor: str, model: str, given: Mapping[str, str] | None = None) -> TrainingHyperparameters:
    """The published options with what the user typed, checked against the model's depth; loads its config only.

    Args:
        editor: whose network is trained.

    Returns:
        Those of the editor's own class.

    Raises:
        UsageError: no such model, an unknown option ("did you mean") or a bad value.
    """
    from pytest_editpitfalls.engine.models.loading import load_config

    source = models.resolve(model, option="--model")
    models.prepare(source)
    n_layers = int(load_config(source).num_hidden_layers)
    kind: type[TrainingHyperparameters] = EDITORS.get(editor).training_class().options_class
    with as_option("--set"):
        return resolve_hyperparameters(editor, kind, source.short_name, n_layers, None, given)


def train(
    editor: str,
    model: str,
    found: TrainingData,
    out: Path,
    *,
    options: TrainingHyperparameters,
    device: str = "auto",
    resume: bool = False,
    console: Console,
) -> tuple[TrainingRun[Any, Any], str]:
    """Train the editor's network for ``model`` and write the best one to ``out``; a checkpoint lies beside it.

    An interruption (Ctrl-C) writes a checkpoint and ends the training in order.

    Args:
        editor: whose network is trained.
        model: name, id, directory or GGUF file.
        found: as `load_training_data` returns it.
        out: where the network goes (safetensors).
        options: as `training_options` returns them.
        resume: go on from the checkpoint of an earlier run with the same model, data and options.

    Returns:
        The run, and why it ended: "max_iters", "early stop" or "interrupted".

    Raises:
        UsageError: no such model, ``out`` cannot be written, a checkpoint in the way or of other options.
    """
    started = time.perf_counter()
    _check_out(editor, out, resume)
    console.print(f"{len(found.training)} facts to train on, {len(found.validation)} to validate with")
    for reason, count in found.left_out.items():
        if count:
            console.print(f"left out: {count} ({reason})")
    session = EngineSession.open(
        EngineSettings(model, device=device, seed=options.seed), lambda text: _say(console, text)
    )
    kind = EDITORS.get(editor).training_class()
    try:
        check_experts(editor, options, session.host.family)
    except UsageError as error:
        raise UsageError(error.what, where=f"--model {model}", fix="train for another model") from None
    with TrainingDisplay(console, f"train-{editor}", options.max_iters) as display:
        run: TrainingRun[Any, Any] = kind(
            session.forward,
            model,
            session.fingerprint,
            found,
            out,
            options,
            max_tokens=CPU_TOKENS if session.host.device.type == "cpu" else GPU_TOKENS,
            display=display,
        )
        if resume:
            run.resume()
            console.print(f"going on after {run.edits} edits")
        try:
            stopped = run.run()
        except KeyboardInterrupt:
            run.save_checkpoint()
            stopped = "interrupted"
    seconds = time.perf_counter() - started
    ended = f"{stopped} after {run.edits} edits ({run.skipped} skipped), {seconds:.0f} s"
    _say(console, f"{ended}; the checkpoint is {checkpoint_path(out)}")
    if run.best is None:
        console.print("nothing was validated yet, so there is no network; go on with --resume")
    else:
        console.print(f"best, after {run.best_at} edits: {run.best}")
        _say(console, f"use it with --editor={editor} --pitfalls-set {editor}.weights={out}")
    return run, stopped


def _say(console: Console, text: str) -> None:
    """Print what may hold a file's name: neither its control characters nor its brackets mean anything."""
    console.print(visible(text), markup=False)


def _check_out(editor: str, out: Path, resume: bool) -> None:
    """Before anything takes long: can the result be written, and is nothing overwritten by mistake?"""
    if out.is_dir():
        raise UsageError("this is a directory", where=f"--out {out}", fix=f"name a file, such as {editor}.safetensors")
    checkpoint = checkpoint_path(out)
    if not resume and checkpoint.exists():
        raise UsageError(
            "there is a checkpoint of an earlier training",
            where=str(checkpoint),
            fix="go on with --resume, or remove it to start anew",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"the directory '{out.parent}' cannot be made: {error.strerror}"
        raise UsageError(what, where="--out", fix="name a file that can be written") from None
    check_writable(out, where="--out")
    if is_standard_output(out) or (out.exists() and not out.is_file()):
        raise UsageError(f"'{out}' is no file", where="--out", fix=f"name a file, such as {editor}.safetensors")
