"""One editor of others and ours beside it, in a process of its own.

    python -m benchmarks.elsewhere.one "EasyEdit ROME" --checkouts DIR --model smollm2-135m

Prints one line of JSON. Both get one file of hyper-parameters and edit the same case through the engine, so that states
and questions are the same, too. What would be random is handed over where their code keeps its own: context templates
in ``CONTEXT_TEMPLATES_CACHE``, and our second moment as the file that it looks for.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.programs import reverse_programs
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.hyperparameters.released import read_released
from pytest_editpitfalls.engine.outside.collection import checkout_of, outside_editor
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, silent
from pytest_editpitfalls.errors import PitfallsError
from pytest_editpitfalls.program import CaseScores, Probe, Program

from .pairs import CHECKOUTS, PAIRS, Pair

THEIRS = "theirs"
WORDINGS = 4
"""Wordings that each fact is asked in: what is compared are edits, not questions."""


def measured(pair: Pair, checkouts: Path, model: str, device: str, folder: Path) -> dict[str, Any]:
    """Figures of one pair; "error" where an edit fails."""
    editor = outside_editor(pair.theirs, {pair.collection: checkouts / CHECKOUTS[pair.collection]}, where="--editor")
    EDITORS.add(THEIRS, editor, origin=pair.theirs)
    file = written(pair, folder)
    kind = EDITORS.get(pair.ours).hyperparameter_class()
    table, note = read_released(file).table(pair.ours, kind)
    if "context_templates" in kind.model_fields:
        table |= {"context_templates": list(pair.templates)}
    settings = EngineSettings(
        model,
        device=device,
        dtype="float32",
        batch_size=1,
        config_tables={pair.ours: {**table, **pair.own}},
        overrides={THEIRS: {"hparams": str(file)}},
    )
    session = EngineSession.open(settings)
    prepared: Any = session.editors.prepared(pair.ours, silent)
    hand_over(editor, session, pair, getattr(prepared, "_moments", {}), folder)
    program = short(reverse_programs(1)[0])
    found = {"note": note}
    answers = {}
    for name in (pair.ours, THEIRS):
        (scores,) = session.run(name, [program])
        if scores.error is not None or scores.skipped:
            return found | {"error": str(scores.error or scores.skipped)}
        answers[name] = scores
    return found | compared(answers[pair.ours], answers[THEIRS])


def written(pair: Pair, folder: Path) -> Path:
    """The file of hyper-parameters, in the form that their repository has: YAML in EasyEdit, else JSON."""
    values = dict(pair.values)
    if pair.collection == "easyedit":
        for key in ("stats_dir", "P_loc", "results_dir"):
            if key in values:
                values[key] = str(folder / values[key])
        path = folder / "smollm2-135m.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path
    path = folder / pair.ours.upper() / "smollm2-135m.json"
    path.parent.mkdir()
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def hand_over(editor: Any, session: EngineSession, pair: Pair, moments: Mapping[int, Any], folder: Path) -> None:
    """Put templates and second moments where their code looks for its own."""
    checkout = checkout_of(editor)
    assert checkout is not None
    given: dict[str, Any] = {"STATS_DIR": folder / "data" / "stats", "CONTEXT_TEMPLATES_CACHE": list(pair.templates)}
    if pair.grouped:
        given["CONTEXT_TEMPLATES_CACHE"] = [[pair.templates[0]], list(pair.templates[1:])]
    with checkout.entered():
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in checkout.names():
                vars(module).update({key: value for key, value in given.items() if key in vars(module)})
    checkout.imported()  # now that is what every edit starts from
    if pair.moments == "null space":
        spaces = [moments[layer].null_space(pair.values["nullspace_threshold"]) for layer in pair.values["layers"]]
        torch.save(torch.stack([projection(each) for each in spaces]), folder / pair.values["P_loc"])
    if pair.moments != "regular":
        return
    path = session.model.config._name_or_path
    label = path.rsplit("/")[-1] if pair.collection == "easyedit" else path.replace("/", "_")
    samples = pair.values["mom2_n_samples"]
    for layer, moment in moments.items():
        module = pair.values["rewrite_module_tmp"].format(layer)
        file = folder / "data/stats" / label / f"wikipedia_stats/{module}_float32_mom2_{samples}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        matrix = moment.regular.float().cpu().numpy()
        state = {"mom2.constructor": "SecondMoment()", "mom2.count": 1, "mom2.mom2": matrix}
        np.savez(file, sample_size=samples, **state)


def projection(space: Any) -> Any:
    """P of one layer, in single precision."""
    inside = space.basis @ space.basis.T
    return (torch.eye(len(inside), dtype=inside.dtype) - inside if space.complement else inside).float().cpu()


def short(program: Program) -> Program:
    """The first edit alone; every fact of the case is asked before and after it, in a few wordings."""
    asked = [probe for probe in program.probes if isinstance(probe, Probe)]
    facts = {probe.fact: replace(probe, prompts=probe.prompts[:WORDINGS]) for probe in asked}
    states = tuple(state for state in program.states if state.name in ("0", "1"))
    probes = tuple(replace(probe, state=state.name) for state in states for probe in facts.values())
    return replace(program, states=states, probes=probes)


def compared(ours: CaseScores, theirs: CaseScores) -> dict[str, Any]:
    """How far the edited models' log-probabilities are apart, and what the edits took."""
    base = {probe.fact: probe.probabilities for probe in ours.probes if probe.state == "0"}
    apart, moved = [], []
    for a, b in zip(ours.probes, theirs.probes, strict=True):
        if a.state != "0":
            apart += distances(a.probabilities, b.probabilities)
            moved += distances(a.probabilities, base[a.fact])
    return {
        "answers": len(apart),
        "median": statistics.median(apart),
        "max": max(apart),
        "moved": statistics.median(moved),
        "seconds_ours": round(ours.timings["edit"], 2),
        "seconds_theirs": round(theirs.timings["edit"], 2),
        "notes": list(theirs.notes),
    }


def distances(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """|difference of log-probability|, answer by answer."""
    return [abs(math.log(x) - math.log(y)) for x, y in zip(one, other, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elsewhere.one")
    parser.add_argument("name", choices=[pair.name for pair in PAIRS])
    parser.add_argument("--checkouts", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    (pair,) = [each for each in PAIRS if each.name == options.name]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        try:
            found = measured(pair, options.checkouts.resolve(), options.model, options.device, Path(folder))
        except PitfallsError as error:
            found = {"error": str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
