"""Facts to token rows: one edit, a rephrasing that it should reach, a text that it should leave alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase

from .data import Continuation, TrainingFact, same_subject
from .gradients import TargetRow
from .objective import Example

TRIES = 20
"""Draws of a locality fact before an edit without one of another subject is given up."""


class ExampleMaker:
    """Makes examples from facts.

    Args:
        encoder: of the model.
        facts: to make examples of; what an edit should leave alone is the true object of another one, where it
            names nothing itself.

    Attributes:
        facts: those that the model's tokenizer can write.
    """

    def __init__(self, encoder: Encoder, facts: Sequence[TrainingFact]) -> None:
        self._encoder = encoder
        self.facts = [fact for fact in facts if self._encodable(fact)]

    def example(self, fact: TrainingFact, draw: random.Random) -> Example:
        """One rephrasing and one text for the locality loss, drawn by ``draw``."""
        request = fact.request
        rephrase = fact.rephrases[draw.randrange(len(fact.rephrases))]
        other = fact.locality or self._other(fact, draw)
        return Example(
            edit=self._row(Continuation(request.question, request.target_new)),
            rephrase=self._row(Continuation(rephrase, request.target_new)),
            locality=self._row(other),
        )

    def _other(self, fact: TrainingFact, draw: random.Random) -> Continuation:
        for _ in range(TRIES):
            other = self.facts[draw.randrange(len(self.facts))]
            if not same_subject(other, fact):
                return other.others_ask
        raise CaseError(
            f"there is no other fact to hold '{fact.request.subject}' against",
            fix="give the training data more subjects, or each edit a locality of its own",
        )

    def _row(self, text: Continuation) -> TargetRow:
        return TargetRow(self._encoder.prompt(text.prompt), self._encoder.target(text.answer))

    def _encodable(self, fact: TrainingFact) -> bool:
        texts = [fact.others_ask, fact.locality, Continuation(fact.request.question, fact.request.target_new)]
        try:
            for text in texts:
                if text is not None:
                    self._row(text)
        except (CaseError, UnscorableCase):
            return False
        return True
