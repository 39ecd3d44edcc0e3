"""IKE's demonstrations, made from other cases of the suite. Torch-free and pure.

Three kinds (Zheng et al. 2023, arXiv 2305.12740; texts as in zjunlp/EasyEdit, easyeditor/models/ike): *copy* repeats
the new fact, *update* asks it in a paraphrase, *retain* asks another fact, which keeps its true answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_editpitfalls.engine.in_context import fact_text
from pytest_editpitfalls.program import EditRequest, Program

Kind = Literal["copy", "update", "retain"]

SHARES: dict[Kind, int] = {"copy": 1, "update": 3, "retain": 4}
"""The paper's ratio."""


@dataclass(frozen=True)
class Source:
    """What one case of the suite offers.

    Attributes:
        request: its first edit.
        paraphrases: other prompts of that fact, the subject filled in.
        entities: normalised labels of subject and objects.
    """

    case_id: str
    request: EditRequest
    paraphrases: tuple[str, ...]
    entities: frozenset[str]


@dataclass(frozen=True)
class Demonstration:
    """One demonstration: its kind and its text, which ends with an empty line."""

    kind: Kind
    text: str


def sources(programs: Iterable[Program]) -> list[Source]:
    """One source per case, from the first request of its first step."""
    found = []
    for program in programs:
        if program.steps and program.steps[0]:
            request = program.steps[0][0]
            asked = [probe.inputs[1:] for probe in program.probes if probe.inputs[0] == request.question]
            paraphrases = max(asked, key=len, default=())
            found.append(Source(program.case_id, request, paraphrases, entities([request])))
    return found


def entities(requests: Iterable[EditRequest]) -> frozenset[str]:
    """Normalised labels of all subjects and objects."""
    return frozenset(
        normalised(label)
        for request in requests
        for label in (request.subject, request.target_new, request.target_true)
        if label
    )


def normalised(label: str) -> str:
    """Label without differences of case, spaces and compatibility characters."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def quotas(k: int) -> dict[Kind, int]:
    """How many of each kind: ``k`` in the ratio `SHARES`; what rounding leaves goes to *retain*."""
    total = sum(SHARES.values())
    copy, update = round(k * SHARES["copy"] / total), round(k * SHARES["update"] / total)
    return {"copy": copy, "update": update, "retain": k - copy - update}


def demonstrations(ranked: Sequence[Source], k: int) -> list[Demonstration]:
    """Up to ``k`` demonstrations, each from another source, nearest first.

    Each source gives the kind that is furthest behind its quota among those that it can give.

    Args:
        ranked: sources that may be used, nearest first.
    """
    wanted = quotas(k)
    given: dict[Kind, int] = dict.fromkeys(wanted, 0)
    made: list[Demonstration] = []
    for place, source in enumerate(ranked):
        if len(made) == k:
            break
        behind = sorted(
            (kind for kind in wanted if given[kind] < wanted[kind]),
            key=lambda kind: given[kind] / wanted[kind],
        )
        for kind in behind:
            answer = _asked(kind, source, ranked, place)
            if answer is not None:
                made.append(Demonstration(kind, f"New Fact: {fact_text(source.request)}\nPrompt: {answer}\n\n"))
                given[kind] += 1
                break
    return made


def _asked(kind: Kind, source: Source, ranked: Sequence[Source], place: int) -> str | None:
    """The demonstration's prompt with its answer; None where the source cannot give this kind."""
    request = source.request
    if kind == "copy":
        return fact_text(request)
    if kind == "update":
        return f"{source.paraphrases[0]}{request.joiner}{request.target_new}" if source.paraphrases else None
    others = [*ranked[place + 1 :], *ranked[:place]]
    neighbours = [
        other.request
        for other in others
        if other.request.target_true and not {normalised(other.request.subject)} & source.entities
    ]
    # A fact of the same relation is the harder one to keep apart, as CounterFact's neighbourhood prompts are.
    neighbours.sort(key=lambda other: other.relation != request.relation)
    if not neighbours:
        return None
    nearest = neighbours[0]
    return f"{nearest.question}{nearest.joiner}{nearest.target_true}"
