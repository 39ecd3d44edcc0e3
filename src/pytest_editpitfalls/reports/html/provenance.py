"""Where the figures come from: versions, seed, command, hyper-parameters, second moments, files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.records import RunResults

from .words import duration, label_of

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Block:
    """A titled list of names and values."""

    title: str
    pairs: Pairs
    open: bool = False


def run_blocks(results: RunResults) -> list[Block]:
    """Return all run facts, so that every number can be traced."""
    run = results.run
    general: dict[str, object] = {
        "started": run.started,
        "wall time": duration(run.seconds),
        "command": shlex.join(["pytest", *run.command]) if run.command else None,
        "exit status": run.exit_status,
        "seed": run.seed,
        "device": run.device,
        "dtype": run.dtype,
        "batch size": "automatic" if run.batch_size is None else run.batch_size,
        "limit": "none" if run.limit is None else f"{run.limit} cases per suite",
        "shard": run.shard or "none",
        "results from": "a store alone, no model was loaded" if run.replay else "this run and its store",
        "cached cases": f"{sum(case.cached for case in results.cases)} of {len(results.cases)}",
        "success floor": run.success_floor,
        "metric definitions": run.metric_definitions or None,
        "schema version": results.schema_version,
    }
    blocks = [
        Block("Run", _pairs(general), open=True),
        Block("Versions", _pairs(run.versions), open=True),
        Block("Time by stage", [(visible(name), duration(value)) for name, value in run.timings.items()]),
    ]
    for editor in run.editors:
        title = f"Editor {label_of(editor.name, editor.model)}"
        blocks.append(Block(f"{title}: hyper-parameters", _pairs(editor.hyper_parameters)))
        if editor.second_moment is not None:
            blocks.append(Block(f"{title}: second moment", _pairs(editor.second_moment)))
    for model in run.models:
        facts: dict[str, object] = model.model_dump(exclude={"details"}) | model.details
        blocks.append(Block(f"Model {visible(model.name)}", _pairs(facts)))
    blocks += [Block(f"Suite {visible(suite.name)}", _pairs(suite.model_dump())) for suite in run.suites]
    return [block for block in blocks if block.pairs]


def _pairs(facts: Mapping[str, object]) -> Pairs:
    return [(visible(name), _text(value)) for name, value in facts.items()]


def _text(value: object) -> str:
    if value is None:
        return "–"
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
