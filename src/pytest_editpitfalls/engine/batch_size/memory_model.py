"""What a batch takes, and how much of it fits: pure arithmetic. Torch-free.

A batch takes two kinds of memory. What lies between two passes grows with the cases: edited models, kept keys and
values, the optimiser's moments. What one pass takes is bounded by its padded tokens, however many cases there are,
since rows are cut into passes of so many tokens at most:

    bytes(n cases) = n * case_bytes + tokens of a pass * token_bytes

Both factors are estimated from the model's shape at first, and measured in the first batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SAFETY = 0.2
"""Share of the free memory that is left alone: for what an allocator cannot use, and for cases that differ."""

PASSES = 0.5
"""Share of the rest that one pass may take at most: a pass that is cut in two costs less than half as many cases."""

LEAST_TOKENS = 64
"""The fewest tokens of a pass: one row of a case."""

CASE_TOKENS = 256
"""Tokens whose keys and values a case is assumed to keep, before anything has been measured."""

DENSE_COPIES = 7
"""Matrices of a case whose edits are whole ones: those of three edited models, and the delta, its gradient and Adam's
two moments while one is trained."""


CHAIN_MATRICES = 6
"""Matrices that an editor writes, at most, for what a long chain keeps of each of its states."""

SHORT = 2
"""Edits of a state that count for nothing: they are small, and what two edits take has been measured."""


@dataclass(frozen=True)
class Shape:
    """What of a model its memory depends on.

    Attributes:
        layers: number of blocks.
        d_model: width of the hidden states.
        d_k: inputs of a down-projection.
        vocabulary: number of logits.
        width: bytes of a number.
    """

    layers: int
    d_model: int
    d_k: int
    vocabulary: int
    width: int

    @property
    def token_bytes(self) -> float:
        """Bytes that one token of a pass takes: logits, and activations that wait for their gradient.

        Measured: see `models.worker_memory.workers_estimate`, which uses it to decide how many workers fit.
        """
        return self.width * (self.vocabulary + 2.5 * self.layers * (self.d_model + self.d_k))

    @property
    def forward_bytes(self) -> float:
        """Bytes that a token of a pass without gradients takes: what one block holds at a time, at most."""
        return 8.0 * self.width * (self.d_model + self.d_k)

    @property
    def kept_bytes(self) -> float:
        """Bytes of a token's keys and values in all layers, at most: grouped queries need fewer."""
        return 2.0 * self.layers * self.d_model * self.width

    def chain_bytes(self, edits: Iterable[int]) -> float:
        """Bytes that the edited models of a long chain take, at most: those of its states, and one that goes on.

        Args:
            edits: how many edits each of its states has.
        """
        counts = [count for count in edits if count > SHORT]
        whole = self.d_model * self.d_k  # past break-even: see `overlay.folded`
        numbers = sum(min(count * (self.d_model + self.d_k), whole) for count in (*counts, max(counts, default=0)))
        return float(CHAIN_MATRICES * self.width * numbers)

    def case_bytes(self, whole_matrices: bool) -> float:
        """Bytes that a case takes between passes, before anything has been measured.

        Args:
            whole_matrices: whether its edits are whole matrices of one layer.
        """
        dense = DENSE_COPIES * self.d_model * self.d_k * self.width if whole_matrices else 0
        return CASE_TOKENS * self.kept_bytes + dense


@dataclass(frozen=True)
class MemoryModel:
    """Bytes of a batch; see the module.

    Attributes:
        case_bytes: what one case takes between passes.
        token_bytes: what one padded token of a pass takes.
        length: characters of the cases that were measured, their mean; None where none has been.
    """

    case_bytes: float
    token_bytes: float
    length: float | None = None

    def of_length(self, length: float) -> MemoryModel:
        """The same for cases of so many characters: longer ones than those that were measured keep more."""
        if not self.length or length <= self.length:
            return self
        return MemoryModel(self.case_bytes * length / self.length, self.token_bytes, length)

    @classmethod
    def measured(
        cls, *, cases: int, length: float, between: float, peak: float, tokens: int, shape: Shape
    ) -> MemoryModel:
        """The model of a batch that was measured, in bytes above what was there before.

        Args:
            cases: cases of the batch.
            length: characters of a case, their mean.
            between: the most that was taken between two passes.
            peak: the most that was taken at all.
            tokens: padded tokens of its largest pass; 0 where none was seen.
            shape: of the model; its estimate stands in where no pass was seen, or none took more than there was: on a
                CPU a process uses again what it has freed.
        """
        token_bytes = (peak - between) / tokens if tokens and peak > between else shape.token_bytes
        return cls(max(0.0, between) / cases, token_bytes, length)


@dataclass(frozen=True)
class Choice:
    """How many cases are edited together.

    Attributes:
        cases: so many at most.
        tokens: padded tokens of one pass at most.
        why: why not more, in words.
    """

    cases: int
    tokens: int
    why: str

    def halved(self, tried: int, *, least_tokens: int) -> Choice:
        """The choice after memory ran out with so many cases; passes get smaller, too, down to ``least_tokens``."""
        tokens = min(self.tokens, max(least_tokens, self.tokens // 2))
        return Choice(-(-tried // 2), tokens, f"memory ran out with {tried}")


def cases_that_fit(free: float, fixed: float, per_case: float, cap: int) -> int:
    """The most cases that memory has room for: from 1 to ``cap``.

    Args:
        free: bytes that may be taken.
        fixed: bytes that any batch takes.
        per_case: bytes of each case besides.
        cap: the most cases that are wanted, at least 1.
    """
    if cap * per_case <= free - fixed:
        return cap
    return max(1, min(cap, int((free - fixed) // per_case))) if free > fixed else 1


def tokens_that_fit(free: float, per_token: float, cap: int) -> int:
    """The most tokens that a pass may have: from `LEAST_TOKENS` (or ``cap``) to ``cap``, in half of ``free`` bytes."""
    room = PASSES * free
    if cap * per_token <= room:
        return cap
    return min(cap, max(LEAST_TOKENS, int(room // per_token)))


def choose(model: MemoryModel, free: int, *, most_cases: int, most_tokens: int, device: str) -> Choice:
    """The largest batch that fits and is worth its size.

    Args:
        model: what a batch takes.
        free: free bytes of the device that this process may count on.
        most_cases: more are no faster.
        most_tokens: more tokens in a pass are no faster.
        device: "CPU" or "GPU", for the reason.
    """
    usable = (1 - SAFETY) * max(0, free)
    tokens = tokens_that_fit(usable, model.token_bytes, most_tokens)
    cases = cases_that_fit(usable, tokens * model.token_bytes, model.case_bytes, most_cases)
    if cases == most_cases:
        return Choice(cases, tokens, f"more does not pay on a {device}")
    why = f"{_size(model.case_bytes)} a case, {_size(tokens * model.token_bytes)} a pass, {_size(free)} free"
    return Choice(cases, tokens, why)


def _size(count: float) -> str:
    if count >= 1e8:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else "under 1 MB"
