"""Results to render: any number of cases, editors and models; probabilities are drawn, metrics are computed."""

from __future__ import annotations

import random

from pytest_editpitfalls.pitfalls import compute_metrics, pitfall_of
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.results import CaseRecord, RunResults
from pytest_editpitfalls.results.aggregates import aggregate
from pytest_editpitfalls.results.build import threshold_record
from pytest_editpitfalls.results.gates import evaluate_gates
from pytest_editpitfalls.results.records import FactRecord, ProbeRecord
from pytest_editpitfalls.results.run_records import EditorRecord, ModelRecord, RunRecord, SuiteRecord
from pytest_editpitfalls.verdicts.thresholds import judge, parse_gate, parse_threshold

KINDS = {
    "reverse": "reverse",
    "composite": "composite",
    "coverage": "coverage",
    "easy": "round",
    "hard": "round",
}
THRESHOLDS = {
    "reverse": ["cs_exp >= 1"],
    "composite": ["cs_exp >= 1", "tfd <= 0.5"],
    "coverage": ["cs_exp >= 1"],
    "round": ["succ >= 1", "ir <= 0.5"],
}
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\u202egnitirw desrever",
    "\x1b[31mred\x00\x07",
    "line\u2028separator {{ 7 * 7 }} {% raw %}",
    "قهوة \u2067isolate",
    "a/b?c#d%20e&f=g'h\"i",
    "lone surrogate \ud800",
)
_PLACES = [
    "Paris",
    "Lyon",
    "Nairobi",
    "Oslo",
    "Lima",
    "Hanoi",
    "Quito",
    "Accra",
    "Kyoto",
    "Graz",
    "Porto",
    "Leeds",
]
_QUESTIONS = [
    "The notable work of {} is",
    "The capital of the region where {} was first shown is",
    "The official residence of the director of {} stands in",
    "What continent is {} part of?",
]
_NAMES = [
    "Archduchess",
    "Museum",
    "Treaty",
    "River",
    "Symphony",
    "Observatory",
    "Regiment",
    "Harbour",
    "Gazette",
]


def sample_results(
    cases_per_suite: int = 12,
    editors: tuple[str, ...] = ("rome",),
    models: tuple[str, ...] = ("gpt2-xl",),
    *,
    suites: tuple[str, ...] = tuple(KINDS),
    seed: int = 0,
    hostile: bool = False,
    gates: tuple[str, ...] = ("reverse.cs_exp >= 0.6", "easy.succ >= 0.9", "coverage.cs_exp >= 0.99"),
) -> RunResults:
    """Return a run of published-format suites; the same arguments give the same results."""
    cases = [
        _case(suite, editor, model, place, seed, hostile)
        for suite in suites
        for editor in editors
        for model in models
        for place in range(cases_per_suite)
    ]
    kinds = {suite: KINDS[suite] for suite in suites}
    aggregates = aggregate(cases, kinds)
    wanted = [parse_gate(text, kinds) for text in gates if text.split(".")[0] in kinds]
    return RunResults(
        run=RunRecord(
            started="2026-11-22T21:37:56+00:00",
            seconds=753.5,
            command=["--editor=rome", "--model=gpt2-xl", "-k", HOSTILE[0] if hostile else "reverse or easy"],
            exit_status=1,
            seed=seed,
            device="cpu",
            dtype="float32",
            metric_definitions="0123456789abcdef",
            success_floor=0.7,
            editors=[
                EditorRecord(
                    name=editor,
                    model=model,
                    hyper_parameters={"layers": [17], "v_lr": 0.5, "clamp_norm_factor": 4.0 + seed},
                    second_moment={
                        "source": {"kind": "sampled", "seed": 0},
                        "tokens": 12288,
                        "ridge": 0.0125,
                    },
                )
                for editor in editors
                for model in models
            ],
            models=[
                ModelRecord(
                    name=model,
                    source=model,
                    fingerprint="4f11d58c" * 8,
                    family="gpt2",
                    device="cpu",
                    dtype="float32",
                )
                for model in models
            ],
            suites=[
                SuiteRecord(
                    name=suite,
                    kind=KINDS[suite],  # type: ignore[arg-type]
                    format="published",
                    source=f"data/{suite}.json",
                    digest="fb25679c" * 8,
                    total=cases_per_suite,
                    selected=cases_per_suite,
                    thresholds=THRESHOLDS[KINDS[suite]],
                )
                for suite in suites
            ],
            versions={"python": "3.11.7", "pytest": "9.2.0", "torch": "2.13.0+cpu"},
            timings={"edit": 600.6, "score": 135.8, "load": 7.0},
        ),
        cases=cases,
        aggregates=aggregates,
        gates=evaluate_gates(wanted, aggregates),
    )


def _case(suite: str, editor: str, model: str, place: int, seed: int, hostile: bool) -> CaseRecord:
    kind = KINDS[suite]
    draw = random.Random(f"{suite} {editor} {model} {place} {seed}")
    about = random.Random(f"{suite} {place}")  # what is asked is the same for every editor
    relation = about.choice(["P36", "P50", "P131", "P276", "P527", "P800"])
    subject = f"{about.choice(_NAMES)} of {about.choice(_PLACES)} {place}"
    case_id = f"{relation}-{place:04d}"
    old, new = about.sample(_PLACES, 2)
    if hostile:
        label = HOSTILE[place % len(HOSTILE)]
        case_id, subject, old = f"{place} {label}", f"{label} {subject}", label
    question = about.choice(_QUESTIONS).format(subject)
    second = question if kind in ("coverage", "round") else about.choice(_QUESTIONS).format(new)
    last = old if kind == "round" else about.choice(_PLACES)
    takes = draw.random() < (0.55 if editor == "lora" else 0.97)
    scores = _scores(kind, draw, takes, about.randint(1, 5))
    metrics = compute_metrics(kind, scores)  # type: ignore[arg-type]
    facts = _facts(kind, scores, (subject, old, new), (new if second != question else subject, last), question, second)
    verdict = judge(metrics, [parse_threshold(text) for text in THRESHOLDS[kind]])
    skipped = place % 97 == 96
    return CaseRecord(
        id=case_id,
        source_index=place,
        suite=suite,
        editor=editor,
        model=model,
        rule=f"{relation}-P17" if kind == "reverse" else HOSTILE[0] if hostile and place == 0 else relation,
        subject=subject,
        edits=[f"edit 1: {question} ... {old} -> {new}", f"edit 2: {second} ... {new} -> {last}"],
        digest=f"{about.getrandbits(64):016x}",
        outcome="skipped" if skipped else "passed" if verdict.passed else "failed",
        reason="the target has no tokens" if skipped else "; ".join(str(fallen) for fallen in verdict.failed) or None,
        held=draw.random() < 0.9,
        metrics={} if skipped else metrics,
        probes=[]
        if skipped
        else [
            ProbeRecord(fact=s.fact, state=s.state, probabilities=list(s.probabilities), tokens=s.tokens)
            for s in scores
        ],
        facts={} if skipped else facts,
        thresholds=[] if skipped else [threshold_record(result) for result in verdict.results],
        seconds=draw.uniform(5, 20),
        cached=place % 5 == 0,
        notes=[f"tiny divisor at edit 2: {draw.random():.3g}"] if place % 11 == 0 else [],
    )


def _scores(kind: str, draw: random.Random, takes: bool, others: int) -> list[ProbeScore]:
    def some(level: float) -> tuple[float, ...]:
        return tuple(min(1.0, level * draw.lognormvariate(0, 1.2)) for _ in range(11))

    low, mid, high = 2e-4, 0.03 * draw.lognormvariate(0, 1), 0.6
    written = high if takes else low
    replaced = low if takes else high
    if kind == "round":
        after = mid * draw.lognormvariate(-0.7, 1)
        asked = [("object", "0", mid), ("object", "1", replaced), ("object", "12", high)]
        asked += [("new_object", "0", low), ("new_object", "1", written), ("new_object", "12", low)]
        for place in range(others):
            asked += [(f"other:{place}", "0", mid), (f"other:{place}", "12", after)]
    else:
        kept = written * draw.lognormvariate(-1, 1)
        asked = [("old", "0", low), ("old", "1", written), ("old", "12", kept), ("old", "2", low)]
        asked += [("replaced", "1", replaced), ("new_exp", "0", low)]
        asked += [("new_exp", "12", high * draw.lognormvariate(-0.5, 1)), ("new_exp", "2", written)]
        if kind in ("reverse", "composite"):
            asked += [
                ("new_imp", "0", low),
                ("new_imp", "12", mid * draw.lognormvariate(0, 1.5)),
                ("new_imp", "2", mid),
            ]
            asked += [("old_imp", "0", mid), ("old_imp", "12", mid), ("old_imp", "2", low)]
        if kind == "composite":
            asked += [("replaced_2", "12", low), ("replaced_2", "2", low)]
            asked += [("tied", "0", mid), ("tied", "1", mid), ("tied", "12", mid / 3), ("tied", "2", mid / 2)]
        if kind == "coverage":
            asked += [("replaced", "2", mid)]
    return [ProbeScore(fact, state, some(level), 1 + len(fact) % 3) for fact, state, level in asked]  # type: ignore[arg-type]


def _facts(
    kind: str,
    scores: list[ProbeScore],
    first: tuple[str, str, str],
    later: tuple[str, str],
    question: str,
    second: str,
) -> dict[str, FactRecord]:
    """What is asked of each fact, in words; the prompts are no longer and no more alike than those of a real suite."""
    subject, old, new = first
    objects = {"old": new, "replaced": old, "object": old, "new_object": new}
    facts = {}
    for place, name in enumerate(dict.fromkeys(score.fact for score in scores)):
        if name in objects or name.startswith("other"):
            words = (subject, objects.get(name, _PLACES[(place + len(subject)) % len(_PLACES)]), question)
        elif name == "new_imp":
            words = (later[1], new, f"The place that {later[1]} is known for is")
        elif name == "tied":
            words = (later[0], subject, f"The collection of {later[0]} was left to")
        else:
            words = (later[0], later[1], second)
        known = pitfall_of(kind).words_of(name)
        facts[name] = FactRecord(
            subject=words[0], relation="P36", label="capital", object=words[1], prompt=words[2], role=known.text
        )
    return facts
