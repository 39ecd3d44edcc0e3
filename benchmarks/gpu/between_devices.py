"""Whether a GPU gives what a CPU gives: every editor on tiny random models of every family, float32 on both sides.

Without a GPU the other side is the CPU again, one case at a time instead of all together.
"""

from __future__ import annotations

import importlib
import math
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.programs import reverse_programs
from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.hypernetworks.data import TrainingData, TrainingFact
from pytest_editpitfalls.engine.models import CACHE_VARIABLE
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import PitfallsError, UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, SuitePrograms

from .recorder import Figures, Recorder
from .sizes import Sizes

BOUND = 1e-4
"""|difference of log-probability| that counts as rounding."""

CASES, PROMPTS = 2, 2
"""Cases of a pair, and prompts of each probability."""

TEMPLATES = ("{}", "The truth is that {}", "The king of Spain. {}")
"""Fixed: a CPU and a GPU draw different text from one seed."""

CORPUS = """The author of the book is a writer from England, and the mother of the king is the queen of Spain.
Because of the rain, the game was stopped. He is married to her, and she is married to him.
According to the latest report, the company was founded in London by two brothers.
In the news today, the president of the United States met the chancellor of Germany in Berlin.
"""

FIXED: dict[str, Any] = {
    "context_templates": TEMPLATES,
    "mom2_ridge": 0.1,
    "v_num_grad_steps": 4,
    "num_steps": 3,
    "n_iter": 3,
    "k": 2,
    "warm_up": 2,
    "lora_dropout": 0.0,  # drawn on the device
}
"""Hyper-parameters of any editor that has them: few steps, and nothing that a device draws for itself."""


def measure(recorder: Recorder, sizes: Sizes) -> None:
    """Compare pair by pair, so that every family and every editor has its turn early. Units: "FAMILY EDITOR"."""
    families = tuple(_tiny_models().TINY)
    editors = [each.name for each in shipped_editors()]
    every = [
        (family, editors[(place + shift) % len(editors)])
        for shift in range(len(editors))
        for place, family in enumerate(families)
    ]
    with Comparison(recorder.device) as comparison:
        for family, editor in every[: sizes.pairs]:
            recorder.measure(f"{family} {editor}", lambda f=family, e=editor: comparison.of(f, e))  # type: ignore[misc]


class Comparison:
    """Sessions on both sides, opened once for each family. To be used as a context: files go away with it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._folder = tempfile.TemporaryDirectory()
        self._sessions: dict[tuple[str, str, str], EngineSession] = {}
        self._programs = [_short(program) for program in reverse_programs(CASES)]

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.clear()
        self._folder.cleanup()

    def of(self, family: str, editor: str) -> Figures:
        """How far both sides are apart, as `differences_between` says; "refused" where the editor does not take the
        family, on both sides alike.

        A difference over the bound is no fault where the CPU's own rounding is as large, which is found by float64:
        "rounding" is then the largest difference of the CPU's float32 from that.
        """
        sides = [self._answers(family, editor, side, "float32") for side in ("cpu", "other")]
        errors = [
            next((each.error or each.skipped for each in side if each.error or each.skipped), None) for side in sides
        ]
        if errors[0] is not None and errors[1] is not None:
            return {"refused": " ".join(errors[0].split())[:200]}
        if errors[0] is not None or errors[1] is not None:
            raise RuntimeError(f"only {'the CPU' if errors[0] else 'the other side'} fails: {errors[0] or errors[1]}")
        found = differences_between(*sides)
        if found["max"] > BOUND:
            found["rounding"] = differences_between(sides[0], self._answers(family, editor, "cpu", "float64"))["max"]
        return found

    def _answers(self, family: str, editor: str, side: str, dtype: str) -> list[CaseScores]:
        suite = SuitePrograms("reverse", lambda: self._programs)
        parts = [self._programs]
        if side == "other" and self._device == "cpu":
            parts = [[program] for program in self._programs]
        try:
            session = self._session(family, side, dtype)
            self._train(family, session, editor)
            return [answer for part in parts for answer in session.run(editor, part, suite=suite)]
        except PitfallsError as error:
            return [CaseScores(program.case_id, error=str(error)) for program in self._programs]

    def _session(self, family: str, side: str, dtype: str) -> EngineSession:
        if (key := (family, side, dtype)) not in self._sessions:
            device = self._device if side == "other" else "cpu"
            # A cache of its own for each side: second moments and factors of one are not read by the other.
            folder = Path(self._folder.name) / f"{family}-{side}-{dtype}"
            with _cache(folder / "cache"):
                model = _tiny_models().save_tiny(folder / "model", family, dtype=_torch_dtype(dtype))
                settings = EngineSettings(str(model), device=device, dtype=dtype, config_tables=self._tables(family))
                self._sessions[key] = EngineSession.open(settings)
        return self._sessions[key]

    def _tables(self, family: str) -> dict[str, dict[str, Any]]:
        corpus = Path(self._folder.name) / "corpus.txt"
        corpus.write_text(CORPUS, encoding="utf-8")
        return tables({"mom2_corpus": str(corpus)}, Path(self._folder.name) / family)

    def _train(self, family: str, session: EngineSession, editor: str) -> None:
        """Where an editor needs a network, train one for a few steps on the CPU; both sides apply the same."""
        declaration = EDITORS.get(editor)
        path = _weights(Path(self._folder.name) / family, editor)
        if declaration.training is not None and not path.exists():
            of = session if session.host.device.type == "cpu" else self._session(family, "cpu", "float32")
            train(declaration, of, self._programs, path)


def differences_between(a: Sequence[CaseScores], b: Sequence[CaseScores]) -> Figures:
    """|difference of log-probability|: "values", "median", "max"; "not_finite", where one side has no number.

    A probability is compared as its logarithm, of which nothing is cut off: tiny random models give none that is 0.
    """
    apart: list[float] = []
    wrong = 0
    for first, second in zip(a, b, strict=True):
        for mine, theirs in zip(first.probes, second.probes, strict=True):
            for p, q in zip(mine.probabilities, theirs.probabilities, strict=True):
                if p > 0 and q > 0 and math.isfinite(p) and math.isfinite(q):
                    apart.append(abs(math.log(p) - math.log(q)))
                else:
                    wrong += 1
    if not apart:
        raise RuntimeError(f"none of {wrong} probabilities is a number over 0 on both sides")
    found: Figures = {"values": len(apart), "median": statistics.median(apart), "max": max(apart)}
    return found | ({"not_finite": wrong} if wrong else {})


def tables(own: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Quick hyper-parameters of every editor that ships, by its own fields; `FIXED` and ``own`` where it has them.

    Args:
        folder: where networks of trained editors lie.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in shipped_editors():
        fields = each.hyperparameter_class().model_fields
        found[each.name] = {name: value for name, value in {**FIXED, **own}.items() if name in fields}
        if "context_template_length_params" in fields and "context_templates" not in fields:
            found[each.name]["context_template_length_params"] = ()
        if each.training is not None:
            found[each.name] |= {"weights": str(_weights(folder, each.name)), "layers": (1, 2)}
    if "simie" in found:
        found["simie"]["hparams"] = found["memit"]
    return found


def train(declaration: EditorDeclaration, session: EngineSession, programs: Sequence[Program], path: Path) -> None:
    """Train an editor's network on the programs' own edits, just long enough to be no identity."""
    kind = declaration.training_class()
    facts = tuple(
        TrainingFact(request, (request.question,), None)
        for program in programs
        for step in program.steps
        for request in step
    )
    steps = {"max_iters": 4, "val_interval": 4, "val_steps": 2, "accumulate_bs": 2, "n_edits": 2, "num_seq": 1}
    fields = kind.options_class.model_fields
    options = kind.options_class(layers=(1, 2), rank=4, **{k: v for k, v in steps.items() if k in fields})
    path.parent.mkdir(parents=True, exist_ok=True)
    data = TrainingData(facts, facts, {}, {})
    kind(session.forward, session.settings.model, session.fingerprint, data, path, options, max_tokens=400).run()
    if not path.exists():
        raise UsageError("the training has left no network", where=declaration.name)


def _weights(folder: Path, editor: str) -> Path:
    return folder / f"{editor}.safetensors"


def _short(program: Program) -> Program:
    """With few prompts of each probability."""
    probes = tuple(
        replace(probe, prompts=probe.prompts[:PROMPTS]) if isinstance(probe, Probe) else probe
        for probe in program.probes
    )
    return replace(program, probes=probes)


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before


def _tiny_models() -> Any:
    """The tests' own: they have one for every family."""
    return importlib.import_module("tests.tiny_models")


def _torch_dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)
