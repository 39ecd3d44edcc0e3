"""Training MEND's network: what ``editpitfalls train-mend`` runs. The loop itself is in `loop`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pytest_editpitfalls.engine import models
from pytest_editpitfalls.engine.editors.mend.checkpoint import checkpoint_path
from pytest_editpitfalls.engine.editors.mend.data import TrainingData
from pytest_editpitfalls.engine.editors.mend.display import TrainingDisplay, Validation
from pytest_editpitfalls.engine.editors.mend.hyperparameters import MendTraining
from pytest_editpitfalls.engine.editors.mend.loop import TrainingRun
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.session import CPU_TOKENS, GPU_TOKENS, EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible

TRAINING = "train-mend"


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        out: the file of the best network.
        edits: edits trained on, those of resumed runs included.
        steps: steps of Adam.
        skipped: edits in batches that were skipped because something was not finite.
        first: validation of the untrained network (the identity); None where it was interrupted before.
        best: validation of the network in ``out``; None where there is none yet.
        best_at: edits trained on by then.
        stopped: why it ended: "max_iters", "early stop" or "interrupted".
        seconds: wall time of this run, loading included.
        data: counts and digests of what was trained on.
    """

    out: Path
    edits: int
    steps: int
    skipped: int
    first: Validation | None
    best: Validation | None
    best_at: int
    stopped: str
    seconds: float
    data: dict[str, Any] = field(repr=False)


def training_options(model: str, given: Mapping[str, str] | None = None) -> MendTraining:
    """The published options with what the user gave, checked against the model's depth; loads its config only.

    Args:
        model: name, id, directory or GGUF file.
        given: values as typed, by the options' published names.

    Raises:
        UsageError: no such model, an unknown option ("did you mean") or a bad value.
    """
    from pytest_editpitfalls.engine.models.loading import load_config

    source = models.resolve(model)
    models.prepare(source)
    n_layers = int(load_config(source).num_hidden_layers)
    try:
        return resolve_hyperparameters(TRAINING, MendTraining, source.short_name, n_layers, None, given)
    except UsageError as error:
        typed, meant = f"--pitfalls-set {TRAINING}.", "--set "  # what this command calls its options
        where, fix = ((text or "").replace(typed, meant) or None for text in (error.where, error.fix))
        raise UsageError(error.what, where=where, fix=fix) from None


def train(
    model: str,
    found: TrainingData,
    out: Path,
    *,
    options: MendTraining,
    device: str = "auto",
    resume: bool = False,
    console: Console,
) -> TrainingReport:
    """Train a network for ``model`` and write the best one to ``out``; a checkpoint lies beside it.

    An interruption (Ctrl-C) writes a checkpoint and ends the training in order.

    Args:
        model: name, id, directory or GGUF file.
        found: what is trained on.
        out: where the network goes (safetensors).
        options: hyper-parameters; see `training_options`.
        device: "auto", "cpu", "cuda", ...
        resume: go on from the checkpoint of an earlier run with the same model, data and options.
        console: where progress is shown.

    Raises:
        UsageError: no such model, ``out`` cannot be written, a checkpoint in the way or of other options.
    """
    started = time.perf_counter()
    _check_out(out, resume)
    console.print(f"{len(found.training)} facts to train on, {len(found.validation)} to validate with")
    for reason, count in found.left_out.items():
        if count:
            console.print(f"left out: {count} ({reason})")
    session = EngineSession.open(
        EngineSettings(model, device=device, seed=options.seed), lambda text: _say(console, text)
    )
    with TrainingDisplay(console, options.max_iters) as display:
        run = TrainingRun(
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
    report = TrainingReport(
        out=out,
        edits=run.edits,
        steps=run.steps,
        skipped=run.skipped,
        first=run.first,
        best=run.best,
        best_at=run.best_at,
        stopped=stopped,
        seconds=time.perf_counter() - started,
        data=found.record(),
    )
    _summarise(report, console)
    return report


def _summarise(report: TrainingReport, console: Console) -> None:
    ended = f"{report.stopped} after {report.edits} edits ({report.skipped} skipped), {report.seconds:.0f} s"
    _say(console, f"{ended}; the checkpoint is {checkpoint_path(report.out)}")
    if report.best is None:
        console.print("nothing was validated yet, so there is no network; go on with --resume")
        return
    console.print(f"best, after {report.best_at} edits: {report.best}")
    _say(console, f"use it with --editor=mend --pitfalls-set mend.weights={report.out}")


def _say(console: Console, text: str) -> None:
    """Print what may hold a file's name: neither its control characters nor its brackets mean anything."""
    console.print(visible(text), markup=False)


def _check_out(out: Path, resume: bool) -> None:
    """Before anything takes long: can the result be written, and is nothing overwritten by mistake?"""
    if out.is_dir():
        raise UsageError("this is a directory", where=f"--out {out}", fix="name a file, such as mend.safetensors")
    checkpoint = checkpoint_path(out)
    if not resume and checkpoint.exists():
        raise UsageError(
            "there is a checkpoint of an earlier training",
            where=str(checkpoint),
            fix="go on with --resume, or remove it to start anew",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = out.with_name(f".{out.name}.writable")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"it cannot be written: {error.strerror}", where=f"--out {out}", fix="name a file that can be"
        ) from None
