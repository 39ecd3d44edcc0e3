"""Labels as a tree of their tokens, so that what many of them begin with is asked once. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import numpy
from numpy.typing import NDArray

from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import UnscorableCase

Tokens = tuple[int, ...]


class LabelTree:
    """Labels by their tokens; a node stands for the tokens that lead to it, node 0 for none.

    The children of a node follow one another, so that a slice of each array is all of them. A label that the model's
    tokenizer cannot write is left out: it is no rival.

    Attributes:
        token: (nodes,) the last token.
        depth: (nodes,) how many tokens lead there.
        first, count: (nodes,) the first child, and how many there are.
        longest: (nodes,) tokens of the longest label below a node; 0 where there is none.
        ends: (nodes,) whether a label ends there.
        labels: node -> the labels that end there; several where the tokenizer writes them alike.
    """

    def __init__(self, encoder: Encoder, labels: Iterable[str], joiner: str) -> None:
        self.labels: dict[int, list[str]] = {}
        self._nodes: dict[Tokens, int] = {(): 0}
        self.written: dict[str, int] = {}
        by_tokens: dict[Tokens, list[str]] = {}
        for label in labels:
            with contextlib.suppress(UnscorableCase):
                by_tokens.setdefault(encoder.target(label, joiner), []).append(label)
        level: list[tuple[Tokens, list[Tokens]]] = [((), sorted(by_tokens))]
        token, first, count, longest, self._parent = [0], [0], [0], [0], [0]
        while level:
            below: list[tuple[Tokens, list[Tokens]]] = []
            for start, sequences in level:
                node = self._nodes[start]
                deeper = [each for each in sequences if len(each) > len(start)]
                first[node], longest[node] = len(token), max(map(len, deeper), default=0)
                for each in deeper:
                    known = each[: len(start) + 1]
                    if known not in self._nodes:
                        self._nodes[known] = len(token)
                        below.append((known, []))
                        for array, value in ((token, known[-1]), (first, 0), (count, 0), (longest, 0)):
                            array.append(value)
                        self._parent.append(node)
                        count[node] += 1
                    below[-1][1].append(each)
            level = below
        for tokens, found in by_tokens.items():
            self.labels[self._nodes[tokens]] = found
            self.written.update(dict.fromkeys(found, self._nodes[tokens]))
        self.token, self.first, self.count = map(numpy.array, (token, first, count))
        self.longest = numpy.array(longest)
        self.ends = numpy.zeros(len(token), dtype=bool)
        self.ends[list(self.labels)] = True
        self.depth = numpy.zeros(len(token), dtype=numpy.int64)
        for tokens, node in self._nodes.items():
            self.depth[node] = len(tokens)

    def node(self, tokens: Tokens) -> int | None:
        """The node of these tokens; None where no label begins with them."""
        return self._nodes.get(tokens)

    def tokens_of(self, node: int) -> Tokens:
        """The tokens that lead to a node."""
        found = []
        while node:
            found.append(int(self.token[node]))
            node = self._parent[node]
        return tuple(reversed(found))

    def only(self, beside: Sequence[str]) -> set[int]:
        """The nodes where no label ends but some of ``beside``."""
        nodes = {self.written[label] for label in beside if label in self.written}
        return {node for node in nodes if set(self.labels[node]) <= set(beside)}


class Goal(Enum):
    """What a search is to find out; the later ones take longer.

    The last one takes very long where labels are long: their beginnings then bound their mean but loosely.
    """

    WINS_ALL = "whether the object wins by all scores"
    WINS_EACH = "by which scores the object wins"
    STRONGEST = "the likeliest rival by each score"


class Search:
    """The likeliest rivals of one object after one prompt, found without asking for all of them.

    What begins as a label bounds it: its summed log-probability is no greater than that of its first tokens, and its
    mean no greater than that divided by the tokens of the longest label that begins so. Only what may beat the bound
    is asked for.

    Args:
        tree: the labels.
        target: the object's tokens.
        beside: labels that are no rivals.
        scores: the scores that are asked.
        goal: what is to be known.
    """

    def __init__(
        self, tree: LabelTree, target: Tokens, beside: Sequence[str], scores: Sequence[str], goal: Goal
    ) -> None:
        self.tree, self.target, self.scores, self.goal = tree, target, tuple(scores), goal
        self.own: dict[str, float] = {}
        self.best: dict[str, tuple[float, int]] = dict.fromkeys(scores, (-numpy.inf, 0))
        self.rows = 0
        self._beside = frozenset(beside)
        self._out = tree.only(beside)
        self._nodes: NDArray[numpy.int64] = numpy.zeros(0, dtype=numpy.int64)
        self._sums: NDArray[numpy.float64] = numpy.zeros(0)

    def start(self, own: float) -> None:
        """Note the object's summed log-probability. A rival that the tokenizer writes alike is as likely."""
        self.own = {"sum": own, "mean": own / len(self.target)}
        node = self.tree.node(self.target)
        if node is not None and self.tree.ends[node] and node not in self._out:
            for score in self.scores:
                self.best[score] = (self.own[score], node)
            self._out.add(node)

    def expand(self, node: int, total: float, log_probs: NDArray[Any]) -> None:
        """Note what may follow a node of summed log-probability ``total``; (vocabulary,) ``log_probs`` behind it."""
        tree = self.tree
        first, count = int(tree.first[node]), int(tree.count[node])
        children = slice(first, first + count)
        # a logarithm that rounding lifts above 0 would lift a label above its bound
        sums = total + numpy.minimum(log_probs[tree.token[children]].astype(numpy.float64), 0.0)
        ended = numpy.where(tree.ends[children], sums, -numpy.inf)
        for out in self._out:
            if first <= out < first + count:
                ended[out - first] = -numpy.inf
        for score in self.scores:
            values = ended if score == "sum" else ended / tree.depth[children]
            place = int(values.argmax()) if count else 0
            if count and values[place] > self.best[score][0]:
                self.best[score] = (float(values[place]), first + place)
        inner = numpy.flatnonzero(tree.count[children])
        self._nodes = numpy.concatenate([self._nodes, first + inner])
        self._sums = numpy.concatenate([self._sums, sums[inner]])

    def next(self, most: int) -> list[tuple[int, float]]:
        """The nodes to ask for next with their sums, at most ``most`` for each score; none when all is known."""
        if self.goal is Goal.WINS_ALL and not all(map(self.wins, self.scores)):
            return []
        bounds = {"sum": self._sums, "mean": self._sums / self.tree.longest[self._nodes]}
        worth = {score: bounds[score] > self._limit(score) for score in self.scores}
        kept = numpy.logical_or.reduce(list(worth.values()))
        chosen = numpy.zeros(len(kept), dtype=bool)
        for score in self.scores:
            (places,) = worth[score].nonzero()
            order = numpy.argsort(-bounds[score][places], kind="stable")
            chosen[places[order[:most]]] = True
        found = [(int(node), float(total)) for node, total in zip(self._nodes[chosen], self._sums[chosen], strict=True)]
        rest = kept & ~chosen
        self._nodes, self._sums = self._nodes[rest], self._sums[rest]
        return found

    def wins(self, score: str) -> bool:
        """Whether the object beats every rival that is known so far."""
        return self.own[score] > self.best[score][0]

    def strongest(self, score: str) -> tuple[str, float] | None:
        """The likeliest rival that is known so far, and its value; None where there is none."""
        value, node = self.best[score]
        if not node:
            return None
        return next(label for label in self.tree.labels[node] if label not in self._beside), value

    def _limit(self, score: str) -> float:
        """What a label must be above to matter; a rival that is as likely as the object beats it, too."""
        if self.goal is Goal.STRONGEST:
            return self.best[score][0]
        return float(numpy.nextafter(self.own[score], -numpy.inf)) if self.wins(score) else numpy.inf
