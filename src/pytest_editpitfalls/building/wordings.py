"""How the relations are worded in the suites that are built, and the questions that are asked with these words."""

from __future__ import annotations

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.knowledge import Knowledge, KnownFact
from pytest_editpitfalls.pitfalls._construction import PLURAL, wording_id
from pytest_editpitfalls.program import HeldQuestion

from .settings import BuildSettings


class Wordings:
    """The relations of a build by the ids that they have in a suite."""

    def __init__(self, knowledge: Knowledge, settings: BuildSettings) -> None:
        self._knowledge = knowledge
        self._settings = settings
        self._relations: dict[str, Relation] = {}
        self._objects: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, suite_id: str) -> Relation:
        """Return a relation by the id that it has in a suite ("P36", "P527-plural")."""
        if suite_id not in self._relations:
            base = suite_id.removesuffix(PLURAL)
            number = "plural" if base != suite_id else ""
            known = self._knowledge.relations[base]
            wording = known.wording(number)
            self._relations[suite_id] = Relation(
                id=suite_id,
                prompt=wording.prompt,
                paraphrases=wording.paraphrases,
                label=known.label,
                query=wording.query,
                joiner=known.joiner,
                sentence_case=True,
                variant_of=base if number else "",
            )
        return self._relations[suite_id]

    def of(self, fact: KnownFact) -> Relation:
        """Return the wording for a fact's subject."""
        return self[wording_id(self._knowledge, fact.relation, fact.subject_number)]

    def prompts(self, fact: KnownFact) -> tuple[str, ...]:
        """Return all prompts that ask for a fact's object, rewrite prompt first."""
        return self.of(fact).questions(fact.of.in_text)

    def objects(self, relation: str) -> tuple[str, ...]:
        """Return all objects of a relation, as they stand in a sentence: what competes when a fact is asked."""
        if relation not in self._objects:
            labels = (thing.in_text for thing in self._knowledge.objects(relation))
            self._objects[relation] = tuple(dict.fromkeys(labels))
        return self._objects[relation]

    def true_labels(self, fact: KnownFact) -> tuple[str, ...]:
        """Return the labels among the relation's objects that are true for a fact's subject, by any name."""
        facts = (*self._knowledge.of(fact.relation, fact.subject), fact)
        return self._knowledge.called(fact.relation, (name for known in facts for name in known.to.names))

    def question(self, name: str, fact: KnownFact) -> HeldQuestion:
        """Return the question whether the model holds a fact."""
        share = self._settings.paraphrases
        prompts = self.prompts(fact)
        return HeldQuestion(
            name=name,
            prompts=prompts if share else prompts[:1],
            object=fact.to.in_text,
            candidates=self.objects(fact.relation),
            scores=self._settings.scores,
            share=share,
            joiner=self.of(fact).joiner,
            not_rivals=tuple(sorted(label for label in self.true_labels(fact) if label != fact.to.in_text)),
        )
