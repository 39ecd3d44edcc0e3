"""Rows that go on behind tokens of an earlier pass: targets of several tokens, and texts that start as another one.

They are few and short, so they wait until there are enough of them for a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.overlay import Overlay, RowContext

from .questions import Tokens


@dataclass(frozen=True, slots=True)
class Reading:
    """One log-probability that is asked for: of ``token``, in ``column`` of a row, for ``target`` in ``answers``."""

    column: int
    token: int
    answers: dict[Tokens, float]
    target: Tokens


@dataclass(frozen=True, slots=True)
class Continuation:
    """One row.

    Attributes:
        before: the tokens that are kept.
        tokens: what is run behind them.
    """

    before: Tokens
    tokens: Tokens
    readings: list[Reading]


@dataclass
class _Waiting:
    """Rows of one pass that go on, with their kept tokens above and (where blocks are shared) below."""

    rows: Sequence[Continuation]
    served: RowContext
    above: KeptPrefix
    below: KeptPrefix | None


class Continuations:
    """The rows that wait; log-probabilities are added to their answers when they are run.

    Args:
        shared: the first block that edited models do not share.
        max_tokens: padded tokens of a pass.
        kept: tokens whose keys and values a pass may keep.
    """

    def __init__(self, forward: Forward, overlay: Overlay, shared: int, *, max_tokens: int, kept: int) -> None:
        self._forward, self._overlay, self._shared = forward, overlay, shared
        self._max_tokens, self._kept = max_tokens, kept
        self._waiting: list[_Waiting] = []

    def add(
        self,
        rows: Sequence[Continuation],
        served: RowContext,
        above: KeptPrefix,
        below: KeptPrefix | None,
    ) -> None:
        """Rows with the context that served them and prefixes of as many rows; those that are too many are run."""
        if self._waiting and set(self._waiting[0].served.routes) != set(served.routes):
            self.run()
        self._waiting.append(_Waiting(rows, served, above, below))
        # Kept tokens bound the memory; there are a few times as many of them as new ones.
        if sum(len(each.rows) * each.above.length for each in self._waiting) >= self._max_tokens:
            self.run()

    def run(self) -> None:
        """Run all that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        rows = [row for each in waiting for row in each.rows]
        served = RowContext.joined([each.served for each in waiting])
        above = KeptPrefix.joined([each.above for each in waiting])
        parts = [each.below for each in waiting if each.below is not None]
        below = KeptPrefix.joined(parts) if parts else None
        del waiting
        most = max(1, self._kept // above.length)
        for cut in buckets([len(row.tokens) for row in rows], max_tokens=self._max_tokens, slack=LAUNCH_TOKENS):
            for at in range(0, len(cut), most):
                self._pass(rows, cut[at : at + most], served, above, below)

    def _pass(
        self,
        rows: Sequence[Continuation],
        chosen: Sequence[int],
        served: RowContext,
        above: KeptPrefix,
        below: KeptPrefix | None,
    ) -> None:
        forward, device = self._forward, self._forward.host.device
        index = torch.tensor(chosen, device=device)
        part = [rows[i] for i in chosen]
        lengths = torch.tensor([len(row.before) for row in part], device=device)
        new = Rows.behind(lengths, above.length, [row.tokens for row in part])
        hidden = None
        if below is not None:
            once, back = _once(part)
            keep = torch.tensor(once, device=device)
            hidden = forward.blocks(new.select(keep), last=self._shared, cache=below.select(index[keep]))
            hidden = hidden[torch.tensor(back, device=device)]
        readings = [(place, reading) for place, row in enumerate(part) for reading in row.readings]
        columns = new.ids.shape[1]
        asked = torch.tensor([place * columns + each.column for place, each in readings], device=device)
        with self._overlay.going_on(served.take(index)):
            hidden = forward.blocks(
                new, first=self._shared, hidden=hidden, cache=above.select(index), asked=asked.unique()
            )
            read(forward, hidden, readings)


def read(forward: Forward, hidden: Tensor, readings: Sequence[tuple[int, Reading]]) -> None:
    """Add what is read of hidden states (rows, tokens, hidden) to its answers; each reading comes with its row."""
    if not readings:
        return
    rows = torch.tensor([row for row, _ in readings], device=hidden.device)
    columns = torch.tensor([reading.column for _, reading in readings], device=hidden.device)
    tokens = torch.tensor([reading.token for _, reading in readings], device=hidden.device)
    values = forward.log_probs(hidden[rows, columns], tokens).double().tolist()
    for (_, reading), value in zip(readings, values, strict=True):
        reading.answers[reading.target] += value


def readings_behind(target: Tokens, answers: dict[Tokens, float], first_column: int) -> list[Reading]:
    """The second and later tokens of ``target``, the first of which stands in ``first_column``."""
    return [Reading(first_column + nth, token, answers, target) for nth, token in enumerate(target[1:])]


def _once(rows: Sequence[Continuation]) -> tuple[list[int], list[int]]:
    """First place of each distinct row (edited models share it below), and for every row its place among those."""
    places: dict[tuple[Tokens, Tokens], int] = {}
    unique: list[int] = []
    back: list[int] = []
    for index, row in enumerate(rows):
        key = (row.before, row.tokens)
        if key not in places:
            places[key] = len(unique)
            unique.append(index)
        back.append(places[key])
    return unique, back
