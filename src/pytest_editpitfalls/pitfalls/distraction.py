"""Distraction: the edit is there until a true sentence about the object that it replaced stands before the prompt."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.cases.leaks import contains_label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import DOMINANCE, Knowledge, KnownFact, Thing
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.metrics.controls import (
    change_with_control,
    share_of_pairs,
    share_with_controls,
    with_control,
)
from pytest_editpitfalls.metrics.metric import Compute, Metric
from pytest_editpitfalls.program import Program

from ._construction import PLURAL, Candidate, Construction, Draw, Group, NoTarget, changed, fact_line, single
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._topics import SPREAD

SOURCE = "Park et al. 2025 (arXiv:2505.23026), CHED: {sort}; holi-lab/CoRE"

EACH = 2
"""Sentences of each sort that a built case has."""

Facts = Annotated[tuple[Fact, ...], Field(max_length=100)]

SORTS: Mapping[str, str] = MappingProxyType({"abouts": "about", "hops": "hop"})
"""Field of a row -> the facts in the program."""


class DistractionRow(OneEditRow):
    """One edit, and true sentences that stand before its prompts.

    Attributes:
        abouts: facts that the old object is the subject or object of.
        hops: facts about things that such facts link to the old object; they do not name it.
    """

    abouts: Facts = ()
    hops: Facts = ()

    @model_validator(mode="after")
    def _do_not_answer(self) -> DistractionRow:
        (edit,) = self.edits
        if not self.abouts and not self.hops:
            raise RowError("abouts", "there is no sentence to stand before a prompt", "give abouts or hops")
        for name in SORTS:
            for place, fact in enumerate(getattr(self, name)):
                if fact.relation.removesuffix(PLURAL) == edit.relation.removesuffix(PLURAL):
                    raise RowError(
                        f"{name}.{place}.relation", f"'{fact.relation}' is edited itself", "take another relation"
                    )
                ends = (fact.subject, fact.object)
                for label, role in ((edit.new_object, "new object"), (edit.subject, "subject")):
                    if any(contains_label(end, label) for end in ends):
                        raise RowError(
                            f"{name}.{place}", f"it names the edit's {role} '{label}'", "take a fact that does not"
                        )
                if (name == "abouts") != any(contains_label(end, edit.object) for end in ends):
                    what = "does not name" if name == "abouts" else "names"
                    other = "hops" if name == "abouts" else "abouts"
                    raise RowError(
                        f"{name}.{place}", f"it {what} the old object '{edit.object}'", f"put it among {other}"
                    )
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and the facts of the sentences."""
        more = {f"{name}.{place}": fact for name in SORTS for place, fact in enumerate(getattr(self, name))}
        return {**super().named_facts(), **more}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, and the facts of the sentences."""
        yield from (*super().base_facts(), *self.abouts, *self.hops)


class DistractionConstruction(Construction):
    """Of each relation with one object a subject: a fact whose object others are known of."""

    share = 0

    def groups(self, knowledge: Knowledge) -> Iterator[Group]:
        for relation in knowledge.relations.values():
            if relation.functional and relation.joiner == " ":
                yield Group(relation.id, relation.id)

    def candidates(self, knowledge: Knowledge, group: Group) -> Iterator[Candidate]:
        homonyms, shared = knowledge.homonyms(dominance=DOMINANCE), knowledge.homonyms()
        for thing in knowledge.objects(group.relation):
            if thing.label in homonyms:
                continue
            near = _sentences(knowledge, group.relation, thing, homonyms, shared)
            for fact in knowledge.to(group.relation, thing.label):
                if single(knowledge, fact):
                    known = [each for each in near if not _names(each, fact.of)]
                    if any(_names(each, fact.to) for each in known):
                        yield Candidate(group, {"edit1": fact}, {}, known=tuple(known[: 4 * EACH]))

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        new = draw(knowledge.objects(fact.relation), fact)
        known = [each for each in candidate.known if not _names(each, new)]
        abouts = [each for each in known if _names(each, fact.to)][:EACH]
        if not abouts:
            raise NoTarget("every sentence about the old object names the new one")
        hops = [each for each in known if not _names(each, fact.to)][:EACH]
        return {
            "edits": [changed(knowledge, fact, new)],
            "abouts": [fact_line(knowledge, each) for each in abouts],
            "hops": [fact_line(knowledge, each) for each in hops],
        }


def _sentences(
    knowledge: Knowledge, relation: str, thing: Thing, homonyms: Container[str], shared: Container[str]
) -> list[KnownFact]:
    """Facts of other relations about a thing, then facts about what these link it to; the best known first.

    A sentence in the edit's own relation would be a demonstration of the prompt, not a distraction from it. Of what a
    linked name stands for nothing tells where it is one of the ``homonyms``, which stand for two things about as well
    known; a name that is ``shared`` is that of the best known thing. One sentence for two ends: the other way round
    a fact says the same.
    """

    def sound(facts: Iterable[KnownFact]) -> list[KnownFact]:
        return _best(each for each in facts if each.relation != relation and _is_best_known(knowledge, each, shared))

    about = sound(knowledge.about(thing))
    linked = [each.to for each in about]
    if len(about) < EACH:
        turned = sound(knowledge.about(thing, as_object=True))
        about, linked = about + turned, linked + [each.of for each in turned]
    clear = [other for other in linked if other.label not in homonyms][: 4 * EACH]
    hops = sound(each for other in clear for each in knowledge.about(other))
    seen: set[frozenset[str]] = set()
    about = _new(about, seen)[: 2 * EACH]
    return about + _new([each for each in hops if not _names(each, thing)], seen)[: 2 * EACH]


def _is_best_known(knowledge: Knowledge, fact: KnownFact, shared: Container[str]) -> bool:
    """Whether it is of the best known thing of its subject's name.

    Of a namesake is a fact where a better known one gives another object and there is but one, and where the name has
    several things and others of its facts are far better known: Paris is in Texas, and Paris is the capital of France.
    """
    relation = knowledge.relations[fact.relation]
    if relation.functional and knowledge.of(fact.relation, fact.subject)[0].key != fact.key:
        return False
    if fact.subject not in shared:
        return True
    alike = (each.popularity for each in knowledge.about(fact.of) if each.source == fact.source)  # of one scale
    return DOMINANCE * fact.popularity > max(alike, default=0.0)


def _new(facts: Iterable[KnownFact], seen: set[frozenset[str]]) -> list[KnownFact]:
    """The facts between whose ends none was seen; theirs are from now on."""
    found = []
    for fact in facts:
        ends = frozenset((plain(fact.subject), plain(fact.object)))
        if ends not in seen:
            seen.add(ends)
            found.append(fact)
    return found


def _best(facts: Iterable[KnownFact]) -> list[KnownFact]:
    """The facts, each once, the best known first."""
    return sorted({each.key: each for each in facts}.values(), key=lambda each: (-each.popularity, each.key))


def _names(fact: KnownFact, thing: Thing) -> bool:
    """Whether a fact's sentence has one of a thing's names in it."""
    ends = (fact.of.in_text, fact.to.in_text)
    return any(contains_label(end, name) for end in ends for name in thing.names)


_BY_SORT = [(f"{sort}_new", f"{sort}_true") for sort in SORTS.values()]


def _in_context(state: str) -> Compute:
    return share_of_pairs(_BY_SORT, state, by_prompt=True)


def _plain(state: str) -> Compute:
    return share_of_pairs([(WRITTEN, REPLACED)], state, by_prompt=True)


def _of_sort(sort: str, what: str, ched: str) -> tuple[Metric, ...]:
    return share_with_controls(
        f"es_{sort}",
        f"ES {sort}",
        f"{sort}_new",
        f"{sort}_true",
        what=f"the prompts behind a sentence about {what} after which the new object is likelier",
        question=f"How often does the edit stand behind a sentence about {what}?",
        source=SOURCE.format(sort=ched),
        by_prompt=True,
    )


class Distraction(Pitfall[DistractionRow]):
    """Each sentence stands before all prompts of the relation, for both objects."""

    name = "distraction"
    question = "Does the edit stand a true sentence about the old object before the prompt?"
    topic = SPREAD
    row = DistractionRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "about_new": FactWords("the new object, behind a sentence about the old one", "new, distracted"),
            "about_true": FactWords("the old object, behind a sentence about it", "old, distracted"),
            "hop_new": FactWords("the new object, behind a sentence about what the old one is linked to", "new, hop"),
            "hop_true": FactWords("the old object, behind a sentence about what it is linked to", "old, hop"),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *with_control(
            "es_context",
            "ES context",
            _in_context,
            definition="share of the prompts behind a sentence with the new object likelier: p1(new) > p1(true)",
            before="es_context before any edit: p0(new) > p0(true)",
            asks_before="How often is the new object likelier behind a sentence before any edit?",
            question="How often does the edit stand behind a true sentence?",
            source=SOURCE.format(sort="success with a context"),
        ),
        *_of_sort("about", "the old object", "obj_old_sentence"),
        *_of_sort("hop", "what the old object is linked to", "obj_old_hop_sentence"),
        *with_control(
            "es_plain",
            "ES plain",
            _plain,
            definition="share of the relation's prompts, nothing before them, with p1(new) > p1(true)",
            before="es_plain before any edit: p0(new) > p0(true)",
            asks_before="How often is the new object likelier, nothing before the prompt, before any edit?",
            question="How often does the edit stand where nothing is before the prompt?",
        ),
        *change_with_control(
            "es_drop",
            "ES drop",
            ("es_plain", _plain),
            ("es_context", _in_context),
            question="How much more seldom does the edit stand because of the sentence?",
        ),
    )
    thresholds = ("es_context >= 0.5",)
    columns = ("es", "ps", "es_context", "es_plain", "es_drop")
    order = 11
    constructions: ClassVar = MappingProxyType({"distraction": DistractionConstruction()})

    def program(self, case: Case, row: DistractionRow) -> Program:
        """Ask for both objects behind each sentence."""
        (edit,) = row.edits
        probes = edit_probes(case)
        for name, sort in SORTS.items():
            for place, fact in enumerate(getattr(row, name)):
                sentence = _full_stop(case, fact)
                probes += ask(case, f"{sort}_new:{place}", edit.after, "0", "1", context=sentence)
                probes += ask(case, f"{sort}_true:{place}", edit.before, "0", "1", context=sentence)
        return program_of(case, row.edits, probes)


def _full_stop(case: Case, fact: Fact) -> str:
    """A fact as a sentence that has ended: with the full stop of the language, by whether it is written with spaces."""
    sentence, stop = case.sentence(fact), "." if case.relation(fact.relation).joiner else "。"
    return sentence if sentence.endswith(stop) else sentence + stop
