"""The loss that MEND's network is trained with: does the edit reach a rephrasing and leave other text alone?

    L = cedit * -(1/T) sum_t log p_edited(target_t | rephrase) + cloc * mean_t KL(p_base || p_edited on other text)

differentiated through the update by the network's parameters; the base model is frozen, and x and d are constants
(Mitchell et al. 2022, arXiv 2110.11309, equation 5). Blocks below the first edited one cannot change: their output is
computed once for each row and kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.engine.overlay import low_rank_hook
from pytest_editpitfalls.engine.token_gradients import Matrix, TargetBatch, TargetRow, TokenGradients, token_gradients
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase

from .data import Continuation, TrainingFact, same_subject
from .network import MendNetwork

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

    def total(self, cedit: float, cloc: float) -> Tensor:
        """(n,) the training loss."""
        return cedit * self.edit + cloc * self.locality


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


class Objective:
    """Losses of batches of examples.

    Args:
        max_tokens: padded tokens per pass.
    """

    def __init__(self, forward: Forward, matrices: Sequence[Matrix], first: int, *, max_tokens: int) -> None:
        self._forward, self._matrices, self._first = forward, matrices, first
        self._lower = LowerBlocks(forward, first, max_tokens=max_tokens)
        self._read: dict[TargetRow, Tensor] = {}

    def gradients(self, examples: Sequence[Example]) -> list[TokenGradients]:
        """What the network is given for each example, at the base model."""
        rows = [example.edit for example in examples]
        batch = TargetBatch.of(rows, self._forward.host.device)
        weight = torch.ones(len(rows), device=self._forward.host.device)
        hidden = self._lower.of([row.ids for row in rows])
        return token_gradients(self._forward, batch, self._matrices, weight, first=self._first, hidden=hidden)

    def losses(self, network: MendNetwork, examples: Sequence[Example], gradients: Sequence[TokenGradients]) -> Losses:
        """Losses of the edited models, with a graph to the network's parameters where gradients are enabled."""
        device, n = self._forward.host.device, len(examples)
        # Row i and row n + i are asked of example i's edited model.
        asked = [example.rephrase for example in examples] + [example.locality for example in examples]
        batch = TargetBatch.of(asked, device)
        hidden = self._lower.of([row.ids for row in asked])
        updates = network.updates(gradients)
        with ExitStack() as stack:
            for matrix, (u, v) in zip(self._matrices, updates, strict=True):
                hook = low_rank_hook(u.repeat(2, 1, 1), v.repeat(2, 1, 1))
                handle = self._forward.host.module(matrix.module).register_forward_hook(hook)
                stack.callback(handle.remove)
            out = self._forward.blocks(batch.rows, first=self._first, hidden=hidden)
        with torch.no_grad():
            at = batch.at_row >= n
            base_log_p = self._forward.head(self._base(asked[n:])).log_softmax(dim=1)
        log_p = self._forward.head(batch.predicting(out)).log_softmax(dim=1)
        token_log_p = log_p.gather(1, batch.token[:, None])[:, 0]
        divergence = torch.zeros_like(token_log_p)
        divergence[at] = (base_log_p.exp() * (base_log_p - log_p[at])).sum(dim=1)
        means = batch.row_means(torch.where(at, divergence, -token_log_p))
        hit = (log_p.detach().argmax(dim=1) == batch.token).to(means.dtype)
        return Losses(means[:n], means[n:], batch.row_means(hit)[:n] > 1 - 1e-6)

    def _base(self, rows: Sequence[TargetRow]) -> Tensor:
        """(p, hidden size) input of the base model's head where it predicts the rows' targets; kept for each row."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._read]
        if missing:
            batch = TargetBatch.of(missing, self._forward.host.device)
            hidden = self._lower.of([row.ids for row in missing])
            out = batch.predicting(self._forward.blocks(batch.rows, first=self._first, hidden=hidden))
            self._read.update(zip(missing, out.split([len(row.target) for row in missing]), strict=True))
        return torch.cat([self._read[row] for row in rows])
