"""Runs made up for the tests of reports: any number of cases, editors and models, from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pytest_editpitfalls.pitfalls import compute_metrics, definitions_digest
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.results import CaseRecord, RunResults
from pytest_editpitfalls.results.aggregates import aggregate
from pytest_editpitfalls.results.build import threshold_record
from pytest_editpitfalls.results.gates import evaluate_gates
from pytest_editpitfalls.results.records import ProbeRecord
from pytest_editpitfalls.results.run_records import EditorRecord, ModelRecord, RunRecord, SuiteRecord
from pytest_editpitfalls.verdicts.thresholds import judge, parse_gate, parse_thresholds

KINDS = {
    "reverse": "reverse",
    "composite": "composite",
    "coverage": "coverage",
    "easy": "round",
    "hard": "round",
}
THRESHOLDS = {
    "reverse": ("cs_exp >= 1",),
    "composite": ("cs_exp >= 1", "tfd <= 0.5"),
    "coverage": ("cs_exp >= 1",),
    "round": ("succ >= 1", "ir <= 0.5"),
}
CONFLICT = (
    *(("old", state) for state in ("0", "1", "12", "2")),
    ("replaced", "1"),
    *(("new_exp", state) for state in ("0", "12", "2")),
)
IMPLIED = tuple((fact, state) for fact in ("new_imp", "old_imp") for state in ("0", "12", "2"))
FACTS = {
    "reverse": (*CONFLICT, *IMPLIED),
    "composite": (
        *CONFLICT,
        *IMPLIED,
        ("replaced_2", "12"),
        ("replaced_2", "2"),
        *(("tied", state) for state in ("0", "1", "12", "2")),
    ),
    "coverage": (*CONFLICT, ("replaced", "2")),
    "round": tuple((fact, state) for fact in ("object", "new_object") for state in ("0", "1", "12")),
}
HOSTILE = (
    "a|b `c` **d** _e_ [f](http://g.h) <script>alert(1)</script> @octocat #1 \x1b[31mred\x1b[0m \u202eevil\n"
    "new line ::error::x $x$ \\alpha {y} % & ~ ^ www.example.org a@b.org %0A"
)


def results(
    n: int = 6,
    *,
    suites: Sequence[str] = tuple(KINDS),
    editors: Sequence[str] = ("rome", "memit"),
    models: Sequence[str] = ("gpt2-xl",),
    gates: Sequence[str] = (),
    seed: int = 0,
    better: float = 0.0,
    label: str = "",
    hostile: str = "",
) -> RunResults:
    """A run with ``n`` cases of each suite.

    Args:
        n: cases of each suite.
        suites, editors, models: what ran.
        gates: gates that are held against it.
        seed: of all probabilities.
        better: added to the new facts' probabilities after both edits; negative for a worse editor.
        label: an outcome for all cases instead of their own.
        hostile: stands in every label, reason and name that comes from data.
    """
    kinds = {suite: KINDS[suite] for suite in suites}
    cases = [
        case(suite, editor, model, place, seed, better, label, hostile)
        for suite in suites
        for model in models
        for editor in editors
        for place in range(n)
    ]
    aggregates = aggregate(cases, kinds)  # type: ignore[arg-type]
    parsed = [parse_gate(text, kinds) for text in gates]  # type: ignore[arg-type]
    return RunResults(
        run=RunRecord(
            started="2026-01-02T03:04:05+00:00",
            seconds=12.5,
            command=["--editor=rome", f"--pitfalls-json={hostile or 'x'}.json"],
            seed=seed,
            device="cpu",
            dtype="float32",
            metric_definitions=definitions_digest(kinds.values()),
            success_floor=0.7,
            editors=[
                EditorRecord(name=editor, model=model, hyper_parameters={"v_lr": 0.5})
                for editor in editors
                for model in models
            ],
            models=[ModelRecord(name=model, fingerprint="ab" * 32, dtype="float32") for model in models],
            suites=[
                SuiteRecord.model_validate(
                    {
                        "name": suite,
                        "kind": kinds[suite],
                        "format": "own",
                        "source": f"{suite}.toml",
                        "digest": "cd" * 32,
                        "total": n,
                        "selected": n,
                        "thresholds": list(THRESHOLDS[kinds[suite]]),
                    }
                )
                for suite in suites
            ],
            versions={"python": "3.12", "torch": "2.13.0"},
            timings={"edit": 9.0},
        ),
        cases=cases,
        aggregates=aggregates,
        gates=evaluate_gates(parsed, aggregates),
    )


def case(
    suite: str, editor: str, model: str, place: int, seed: int, better: float, label: str, hostile: str
) -> CaseRecord:
    """One case; the base model's probabilities are the same for every editor."""
    kind = KINDS[suite]
    base = random.Random(f"{seed} {suite} {model} {place}")
    edited = random.Random(f"{seed} {suite} {model} {place} {editor}")
    facts = list(FACTS[kind])
    if kind == "round":
        facts += [(f"other:{other}", state) for other in range(1 + place % 4) for state in ("0", "12")]
    scores = []
    for fact, state in facts:
        draw = base if state == "0" else edited
        lift = better if state == "12" and fact.startswith(("new", "object", "other")) else 0.0
        if state == "1":
            lift = 0.3 if fact in ("old", "new_object") else -0.3
        values = tuple(min(1.0, max(1e-6, draw.random() + lift)) for _ in range(11))
        scores.append(ProbeScore(fact, state, values))
    metrics = compute_metrics(kind, scores)  # type: ignore[arg-type]
    thresholds = parse_thresholds(THRESHOLDS[kind], kind=kind)  # type: ignore[arg-type]
    verdict = judge(metrics, thresholds)
    return CaseRecord.model_validate(
        {
            "id": f"P{place % 3}-{place:04d}",
            "source_index": place,
            "suite": suite,
            "editor": editor,
            "model": model,
            "rule": f"P{place % 3}>P{place % 3 + 1}" + hostile,
            "subject": f"subject {place // 2}",
            "edits": [
                f"edit 1: The capital of France is ... Paris -> Rome{hostile}",
                "edit 2: Rome is in ... x -> y",
            ],
            "digest": f"{suite}{place:08d}"[-16:].rjust(16, "0"),
            "outcome": label or ("passed" if verdict.passed else "failed"),
            "reason": None if verdict.passed else "; ".join(map(str, verdict.failed)) + hostile,
            "held": place % 4 != 0,
            "metrics": metrics,
            "probes": [ProbeRecord(fact=s.fact, state=s.state, probabilities=list(s.probabilities)) for s in scores],
            "facts": {
                name: {
                    "subject": f"subject {place // 2}",
                    "relation": "P36",
                    "label": "capital",
                    "object": f"{name} object{hostile}",
                    "prompt": f"The capital of subject {place // 2} is{hostile}",
                    "role": f"role of {name.partition(':')[0]}{hostile}",
                }
                for name in dict.fromkeys(fact for fact, _ in facts)
            },
            "thresholds": [threshold_record(result) for result in verdict.results],
            "seconds": 0.5,
            "notes": [],
        }
    )
