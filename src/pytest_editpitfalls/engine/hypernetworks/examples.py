"""Examples to train an editor's network on, their losses, and the blocks below the edited ones, computed once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.engine.token_gradients import TargetBatch, TargetRow
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase

from .data import Continuation, TrainingFact, same_subject

CACHE_BYTES = 2**31
"""What the kept hidden states may take."""

TRIES = 20
"""Draws of a locality fact before an edit without one of another subject is given up."""


@dataclass(frozen=True, slots=True)
class Example:
    """One edit, the rephrasing that it should reach and the text that it should leave alone."""

    edit: TargetRow
    rephrase: TargetRow
    locality: TargetRow


class ExampleMaker:
    """Makes examples from facts.

    Args:
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
            edit=self._row(Continuation(request.question, request.target_new, request.joiner)),
            rephrase=self._row(Continuation(rephrase, request.target_new, request.joiner)),
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
        return TargetRow(self._encoder.prompt(text.prompt), self._encoder.target(text.answer, text.joiner))

    def _encodable(self, fact: TrainingFact) -> bool:
        request = fact.request
        asked = Continuation(request.question, request.target_new, request.joiner)
        texts = [fact.others_ask, fact.locality, asked]
        try:
            for text in texts:
                if text is not None:
                    self._row(text)
        except (CaseError, UnscorableCase):
            return False
        return True


@dataclass(frozen=True)
class Losses:
    """Of n examples.

    Attributes:
        edit: (n,) mean negative log-probability of the target after the rephrasing, edited model.
        locality: (n,) mean KL divergence on the other text, nats.
        success: (n,) whether every target token is the likeliest one after the rephrasing.
    """

    edit: Tensor
    locality: Tensor
    success: Tensor

    @classmethod
    def infinite(cls, n: int) -> Losses:
        """Of n examples that cannot be asked, because the edited model is not finite."""
        worst = torch.full((n,), torch.inf)
        return cls(worst, worst, torch.zeros(n, dtype=torch.bool))

    def detached(self) -> Losses:
        """The same figures without their graph, which keeps the edited matrices and their gradients alive."""
        return Losses(self.edit.detach(), self.locality.detach(), self.success)

    def total(self, cedit: float, cloc: float) -> Tensor:
        """(n,) the training loss."""
        return cedit * self.edit + cloc * self.locality


def losses_of(forward: Forward, batch: TargetBatch, out: Tensor, base: Tensor) -> Losses:
    """Losses of n examples from one pass: rows 0 to n - 1 are their rephrasings, rows n to 2n - 1 their other texts.

    Args:
        out: (2n, width, hidden size) output of the last block, edited model.
        base: (p, hidden size) input of the head where the model before the edit predicts the other texts' targets.
    """
    n = len(batch.count) // 2
    with torch.no_grad():
        at = batch.at_row >= n
        base_log_p = forward.head(base).log_softmax(dim=1)
    log_p = forward.head(batch.predicting(out)).log_softmax(dim=1)
    token_log_p = log_p.gather(1, batch.token[:, None])[:, 0]
    divergence = torch.zeros_like(token_log_p)
    divergence[at] = (base_log_p.exp() * (base_log_p - log_p[at])).sum(dim=1)
    means = batch.row_means(torch.where(at, divergence, -token_log_p))
    hit = (log_p.detach().argmax(dim=1) == batch.token).to(means.dtype)
    return Losses(means[:n], means[n:], batch.row_means(hit)[:n] > 1 - 1e-6)


class LowerBlocks:
    """Outputs of the blocks below the first edited one, computed once for each row.

    Args:
        max_tokens: padded tokens per pass.
        max_bytes: beyond it, outputs are computed again each time.
    """

    def __init__(self, forward: Forward, first: int, *, max_tokens: int, max_bytes: int = CACHE_BYTES) -> None:
        self._forward, self._first, self._max_tokens = forward, first, max_tokens
        self._room = max_bytes
        self._kept: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def of(self, rows: Sequence[tuple[int, ...]]) -> Tensor | None:
        """(rows, longest, hidden size) input of the first edited block; None where it is the model's first."""
        if self._first == 0:
            return None
        found = {row: self._kept[row] for row in rows if row in self._kept}
        missing = [row for row in dict.fromkeys(rows) if row not in found]
        for bucket in buckets(
            [len(row) for row in missing], max_tokens=self._max_tokens, max_waste=0.15, slack=LAUNCH_TOKENS
        ):
            chosen = [missing[index] for index in bucket]
            hidden = self._forward.blocks(Rows.pad(chosen, self._forward.host.device), last=self._first)
            for row, each in zip(chosen, hidden, strict=True):
                found[row] = each[: len(row)].clone()
                if self._room >= found[row].nbytes:
                    self._kept[row] = found[row]
                    self._room -= found[row].nbytes
        return torch.nn.utils.rnn.pad_sequence([found[row] for row in rows], batch_first=True)
