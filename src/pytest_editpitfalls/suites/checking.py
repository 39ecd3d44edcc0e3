"""What a check of suites is given, and what it finds. The checks are the modules of `suites.checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

from pytest_editpitfalls.cases.case import Case, Relation
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.suites.suite import Suite

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a check has found.

    Attributes:
        level: "error": the suite cannot be trusted; "warning": a figure may be wrong because of it; "note": good to
            know.
        what: what it is.
        where: the file, with line or row.
        suite: name of the suite, "" where it could not be read.
        case: id of the case, "" where it is about more than one.
        fix: what to do.
    """

    level: Level
    what: str
    where: str
    suite: str = ""
    case: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """As plain JSON types."""
        return {key: str(value) for key, value in asdict(self).items()}


class Tokens(Protocol):
    """What a check needs of a model's tokenizer; `engine.tokens.Encoder` has it."""

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt; raises `UnscorableCase`."""

    def target(self, label: str, joiner: str = " ") -> tuple[int, ...]:
        """Token ids of a label after a space, or after nothing; raises `UnscorableCase`."""


@dataclass(frozen=True, slots=True)
class Material:
    """What is checked.

    Attributes:
        suites: the suites that could be read.
        unread: what kept the others from being read.
        tokens: a model's tokenizer, where one is given.
    """

    suites: tuple[Suite, ...]
    unread: tuple[Finding, ...] = ()
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check. Each module of `suites.checks` has one, under the name ``CHECK``.

    Attributes:
        name: one word ("leaks").
        what: what it looks for, in one line.
        run: gives what it finds.
        order: its place in tables.
    """

    name: str
    what: str
    run: Callable[[Material], Iterable[Finding]]
    order: int = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """A fact that a case asks for, with its prompts.

    Attributes:
        templates: what each prompt is made of; "" where it is not the relation's own, but denied or behind a context.
    """

    name: str
    subject: str
    relation: str
    object: str
    prompts: tuple[str, ...]
    templates: tuple[str, ...]
    joiner: str


def is_own(suite: Suite) -> bool:
    """Whether a suite is in our own format; what others have published is kept as it is, and never an error."""
    return suite.format == "own"


def worst(suite: Suite) -> Level:
    """The level of a mistake that makes a case wrong."""
    return "error" if is_own(suite) else "warning"


def place_of(case: Case) -> str:
    """Where a case stands: the line of a .jsonl file, the row of any other."""
    if case.source.endswith(".jsonl"):
        return f"{case.source}:{case.source_index + 1}"
    return f"{case.source}, row {case.source_index}"


def _asked_with(case: Case, probe: AnyProbe) -> Relation:
    """The relation that a probe is worded by: probes name the relation of which that may be a variant."""
    named = [each for each in case.relations if probe.relation in (each.id, each.variant_of)]
    return next((each for each in named if each.questions(probe.subject)[:1] == probe.inputs[:1]), named[0])


@lru_cache(maxsize=4096)
def asked_of(case: Case) -> tuple[Asked, ...]:
    """Return the facts that a case asks for, each once, rewrite prompt first."""
    found: dict[str, Asked] = {}
    for probe in compile_case(case).probes:
        if probe.relation and probe.fact not in found:  # a text or prompts of no relation are no fact
            relation = _asked_with(case, probe)
            templates = (relation.prompt, *relation.paraphrases)
            wording = dict(zip(relation.questions(probe.subject), templates, strict=True))
            found[probe.fact] = Asked(
                name=probe.fact,
                subject=probe.subject,
                relation=probe.relation,
                object=probe.object,
                prompts=probe.inputs,
                templates=tuple(wording.get(text, "") for text in probe.inputs),
                joiner=probe.joiner,
            )
    return tuple(found.values())


def cases_of(material: Material) -> Iterator[tuple[Suite, Case]]:
    """Give every case with its suite."""
    for suite in material.suites:
        for case in suite.cases:
            yield suite, case


def finding_of(case: Case, level: Level, what: str, fix: str = "") -> Finding:
    """Return a finding about one case."""
    return Finding(level, what, place_of(case), case.suite, case.id, fix)


def prompts_of(material: Material) -> Iterator[dict[str, Any]]:
    """Give every case's prompts as the engine asks them, with their objects."""
    for suite, case in cases_of(material):
        for asked in asked_of(case):
            yield {
                "suite": suite.name,
                "case": case.id,
                "fact": asked.name,
                "object": asked.object,
                "joiner": asked.joiner,
                "prompts": list(asked.prompts),
            }
