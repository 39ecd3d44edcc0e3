"""Part ``chain``: many edits one after another: what each takes, by how many came before, and what is left of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psutil

from pytest_editpitfalls.building.settings import BuildSettings
from pytest_editpitfalls.building.wordings import Wordings
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, Progress
from pytest_editpitfalls.knowledge import load_knowledge
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.program import EditRequest, Probe, Program, State

from .part import Asked, Measured
from .tables import number, percent, table

EDITORS = ("rome", "alphaedit")
EDITS, QUICK_EDITS = 100, 20

STOPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""After how many edits all that were written are asked for."""


@dataclass
class Watch:
    """When each edit of a chain was done, and the most memory until then.

    Attributes:
        edits: of the chain.
        seconds: since the start, when so many edits were done.
        memory: bytes of the process above what it had at the start, the most until then.
    """

    edits: int
    started: float = field(default_factory=time.perf_counter)
    before: int = field(default_factory=lambda: psutil.Process().memory_info().rss)
    seconds: dict[int, float] = field(default_factory=lambda: {0: 0.0})
    memory: dict[int, int] = field(default_factory=dict)
    _most: int = 0

    def __call__(self, progress: Progress) -> None:
        """Called by the engine."""
        if progress.stage != "edit" or not progress.total:
            return
        self._most = max(self._most, psutil.Process().memory_info().rss - self.before)
        done = progress.done * self.edits // progress.total
        if done not in self.seconds:
            self.seconds[done] = time.perf_counter() - self.started
        self.memory[done] = self._most

    def until(self, edits: int) -> float:
        """Seconds until so many edits were done, or the next more that was seen."""
        return min(at for done, at in self.seconds.items() if done >= edits)


def program_of(edits: int, stops: Sequence[int]) -> Program:
    """One chain over so many subjects, each with its best known fact, spread over the facts that ship.

    Raises:
        ValueError: the facts give fewer.
    """
    knowledge = load_knowledge()
    wordings = Wordings(knowledge, BuildSettings(("coverage",)))
    best: dict[str, Any] = {}
    for fact in sorted(knowledge, key=lambda fact: (-fact.popularity, fact.relation, fact.subject, fact.object)):
        objects = wordings.objects(fact.relation)
        if knowledge.relations[fact.relation].functional and len(objects) > 10:
            best.setdefault(plain(fact.subject), fact)
    if len(best) < edits:
        raise ValueError(f"the facts that ship give {len(best)} subjects, not {edits}")
    chosen = sorted(list(best.values())[:edits], key=lambda fact: hashlib.sha256(fact.subject.encode()).digest())
    steps, asked = [], []
    for place, fact in enumerate(chosen):
        relation, objects = wordings.of(fact), wordings.objects(fact.relation)
        at = int.from_bytes(hashlib.sha256(fact.subject.encode()).digest()[:4], "big")
        others = [label for label in objects if label != fact.to.in_text]
        new = others[at % len(others)]
        subject = relation.written(fact.of.in_text)
        steps.append((EditRequest(relation.prompt, subject, new, fact.to.in_text, relation.base, relation.joiner),))
        asked.append((place, relation.questions(fact.of.in_text)[:1], new, fact.to.in_text))
    states = tuple(State(f"after {stop}", tuple(range(stop))) for stop in stops)
    probes = tuple(
        Probe(f"{name}:{place}", state.name, prompts, target)
        for state in states
        for place, prompts, new, old in asked[: len(state.steps)]
        for name, target in (("new", new), ("old", old))
    )
    return Program(f"chain-{edits}", tuple(steps), states, probes)


def measure(asked: Asked) -> Measured:
    """Measure on the model that was asked for."""
    edits = asked.edits or (QUICK_EDITS if asked.quick else EDITS)
    session = EngineSession.open(EngineSettings(asked.model, device=asked.device, batch_size=1))
    figures = measure_session(session, edits)
    return Measured(figures, render(figures))


def measure_session(session: EngineSession, edits: int, editors: Sequence[str] = EDITORS) -> dict[str, Any]:
    """Figures of one model."""
    stops = [stop for stop in STOPS if stop < edits] + [edits]
    program = program_of(edits, stops)
    return {
        "model": session.settings.model,
        "device": str(session.host.device),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "edits": edits,
        "editors": {editor: _chain(session, editor, program, stops) for editor in editors},
    }


def _chain(session: EngineSession, editor: str, program: Program, stops: Sequence[int]) -> dict[str, Any]:
    session.prepare(editor)
    watch, used = Watch(len(program.steps)), time.process_time()
    (scores,) = session.run(editor, [program], watch)
    if scores.error is not None:
        raise RuntimeError(scores.error)
    found = {(probe.fact, probe.state): probe.probabilities[0] for probe in scores.probes}
    rows = []
    for before, stop in pairwise([0, *stops]):
        state = f"after {stop}"
        holds = [found[f"new:{place}", state] > found[f"old:{place}", state] for place in range(stop)]
        rows.append(
            {
                "edits": stop,
                "retention": round(sum(holds) / stop, 4),
                "newest": holds[-1],
                "seconds": round(watch.until(stop), 2),
                "seconds_per_edit": round((watch.until(stop) - watch.until(before)) / (stop - before), 3),
                "memory_mb": round(max(size for done, size in watch.memory.items() if done <= stop) / 1e6, 1),
            }
        )
    return {
        "seconds": round(time.perf_counter() - watch.started, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "edit_seconds": round(scores.timings["edit"], 1),
        "score_seconds": round(scores.timings["score"], 1),
        "notes": len(scores.notes),
        "stops": rows,
    }


def render(figures: dict[str, Any]) -> str:
    """The section of the document."""
    load = "" if figures["load"] is None else f" Load of the machine at the start: {figures['load']}."
    parts = [
        "## Long chains",
        f"{figures['edits']:,} edits of as many subjects one after another, in {figures['model']} on "
        f"{figures['device']}. *Kept*: share of all edits so far whose new object is likelier than the old one, after "
        "the rewrite prompt. Memory is what the process took above a loaded model and prepared editor, at most until "
        f"then.{load}",
    ]
    for editor, own in figures["editors"].items():
        rows = [
            [
                f"{row['edits']:,}",
                percent(row["retention"]),
                number(row["seconds_per_edit"], ".2f"),
                number(row["seconds"], ",.0f"),
                number(row["memory_mb"], ",.0f"),
            ]
            for row in own["stops"]
        ]
        parts += [
            f"### {editor}, one chain",
            f"{own['edit_seconds']:,.0f} s editing and {own['score_seconds']:,.0f} s asking; "
            f"{own['processor_seconds']:,.0f} s of processor time.",
            table(["edits", "kept", "s an edit, since the row before", "s", "memory, MB"], rows),
        ]
    return "\n\n".join(parts)
