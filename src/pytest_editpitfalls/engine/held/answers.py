"""Held questions, answered by the base model: exactly, over all rivals, many questions in each pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.scoring.scorer import KEPT_TOKENS
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import UnscorableCase
from pytest_editpitfalls.program import MAX_LISTED, HeldAnswer, HeldQuestion, Score

from .labels import Goal, LabelTree, Search, Tokens
from .memory import HeldMemory

BOTH: tuple[Score, ...] = ("mean", "sum")

FIRST_ROUND, LAST_ROUND = 4, 64
"""Nodes that a question asks for at a time: few while its best rival is not known, then more and more."""

LOGITS = 2**24
"""Logits that are held at once."""


def is_brief(question: HeldQuestion) -> bool:
    """Whether a question is asked in one pass with what else is scored: one prompt, one score, few rivals."""
    return (
        len(question.prompts) == 1
        and question.scores == ("mean",)
        and len(question.candidates) <= MAX_LISTED
        and not question.not_rivals
    )


def written(encoder: Encoder, held: HeldQuestion) -> list[tuple[int, ...]]:
    """Tokens of a brief question's object, then of its rivals; empty where the object has none.

    A label that the model's tokenizer cannot write is no rival.
    """
    found = []
    for label in (held.object, *held.rivals()):
        with contextlib.suppress(UnscorableCase):
            found.append(encoder.target(label, held.joiner))
        if not found:
            break
    return found


@dataclass(frozen=True)
class _Asked:
    """A search after one prompt."""

    prompt: Tokens
    search: Search


class HeldAnswers:
    """Answers held questions and remembers the answers: the base model stays as it is.

    Args:
        forward: the base model.
        encoder: its texts.
        max_tokens: the most padded tokens per pass.
        memory: the answers of earlier runs, by `holds`.

    Attributes:
        is_trusted: whether nobody else's code has had the model: then answers are kept for later runs.
    """

    def __init__(
        self, forward: Forward, encoder: Encoder, *, max_tokens: int, memory: HeldMemory | None = None
    ) -> None:
        self._forward, self._encoder = forward, encoder
        self.max_tokens = max_tokens
        self._memory = memory
        self.is_trusted = True
        self._known: dict[tuple[object, ...], bool | None] = {}
        self._tree = lru_cache(maxsize=256)(self._tree_of)

    def holds(self, questions: Sequence[HeldQuestion]) -> list[bool | None]:
        """Return for each question whether the base model holds the fact, which takes fewer passes than `answers`."""
        keys = [_key(question) for question in questions]
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._known}
        if new and self._memory is not None:
            self._known |= self._memory.get(list(new))
            new = {key: question for key, question in new.items() if key not in self._known}
        found = self._answer(list(new.values()), silent, Goal.WINS_ALL)
        answers = {key: answer.holds for key, answer in zip(new, found, strict=True)}
        self._known |= answers
        if answers and self._memory is not None and self.is_trusted:
            self._memory.add(answers)
        return [self._known[key] for key in keys]

    def answers(
        self,
        questions: Sequence[HeldQuestion],
        progress: ProgressCallback = silent,
        *,
        strongest: bool = False,
        each_score: bool = True,
    ) -> list[HeldAnswer]:
        """Return for each question what the base model says, in order; see `EngineSession.held`."""
        if strongest:
            return self._answer(questions, progress, Goal.STRONGEST)
        return self._answer(questions, progress, Goal.WINS_EACH if each_score else Goal.WINS_ALL)

    @torch.no_grad()
    def _answer(self, questions: Sequence[HeldQuestion], progress: ProgressCallback, goal: Goal) -> list[HeldAnswer]:
        first: dict[int, Search] = {}
        asked: list[_Asked] = []
        for place, question in enumerate(questions):
            try:
                scores = question.scores if goal is Goal.WINS_ALL else BOTH
                asked.append(self._asked(question, question.prompts[0], scores, goal))
            except UnscorableCase:  # the tokenizer cannot write the object, or the prompt
                continue
            first[place] = asked[-1].search
        self._run(asked, progress)
        won = {place for place, search in first.items() if all(map(search.wins, questions[place].scores))}
        others: dict[int, list[Search]] = {}
        asked = []
        for place in sorted(won):
            question = questions[place]
            for prompt in question.prompts[1:]:
                asked.append(self._asked(question, prompt, question.scores, Goal.WINS_ALL))
                others.setdefault(place, []).append(asked[-1].search)
        self._run(asked, progress)
        return [
            _summed_up(question, first.get(place), others.get(place, ())) for place, question in enumerate(questions)
        ]

    def _asked(self, question: HeldQuestion, prompt: str, scores: Sequence[Score], goal: Goal) -> _Asked:
        target = self._encoder.target(question.object, question.joiner)
        tree = self._tree(question.candidates, question.joiner)
        beside = (question.object, *question.not_rivals)
        return _Asked(self._encoder.prompt(prompt), Search(tree, target, beside, scores, goal))

    def _tree_of(self, labels: tuple[str, ...], joiner: str) -> LabelTree:
        return LabelTree(self._encoder, labels, joiner)

    def _run(self, asked: Sequence[_Asked], progress: ProgressCallback) -> None:
        """Bring every search to its end, as many at a time as their prompts' keys and values allow."""
        prompts = list(dict.fromkeys(each.prompt for each in asked))
        of_prompt: dict[Tokens, list[Search]] = {}
        for each in asked:
            of_prompt.setdefault(each.prompt, []).append(each.search)
        done = 0
        for bucket in buckets([len(p) for p in prompts], max_tokens=self.max_tokens, slack=LAUNCH_TOKENS):
            chosen = [prompts[index] for index in bucket]
            self._bucket(chosen, [of_prompt[prompt] for prompt in chosen])
            done += sum(len(of_prompt[prompt]) for prompt in chosen)
            progress(Progress("held", done, len(asked)))

    def _bucket(self, prompts: Sequence[Tokens], searches: Sequence[Sequence[Search]]) -> None:
        cache = KeptPrefix.empty(self._forward.n_layers)
        rows = Rows.pad(prompts, self._forward.host.device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=rows.ids.device)
        hidden = self._forward.blocks(rows, cache=cache)
        last = hidden[torch.arange(len(prompts), device=hidden.device), lengths - 1]
        firsts: list[float] = []
        for row, log_probs in self._log_probs(last):
            for search in searches[row]:
                search.rows += 1
                firsts.append(float(log_probs[search.target[0]]))
                search.expand(0, 0.0, log_probs)
        behind = [(row, search) for row, each in enumerate(searches) for search in each]
        for (_, search), value in zip(behind, self._rest_of_targets(behind, cache, lengths, firsts), strict=True):
            search.start(value)
        most = FIRST_ROUND
        while True:
            wanted = [(row, search, *node) for row, search in behind for node in search.next(most)]
            if not wanted:
                break
            texts = [(row, search.tree.tokens_of(node)) for row, search, node, _ in wanted]
            for (at, _), log_probs in self._behind(texts, cache, lengths):
                _, search, node, total = wanted[at]
                search.rows += 1
                search.expand(node, total, log_probs)
            most = min(2 * most, LAST_ROUND)

    def _rest_of_targets(
        self,
        behind: Sequence[tuple[int, Search]],
        cache: KeptPrefix,
        lengths: Tensor,
        firsts: Sequence[float],
    ) -> list[float]:
        """Summed log-probability of each search's object, given that of its first token."""
        sums = list(firsts)
        long = [place for place, (_, search) in enumerate(behind) if len(search.target) > 1]
        texts = [(behind[place][0], behind[place][1].target[:-1]) for place in long]
        for (at, column), log_probs in self._behind(texts, cache, lengths, every=True):
            target = behind[long[at]][1].target
            sums[long[at]] += float(log_probs[target[column + 1]])
        for place in long:
            behind[place][1].rows += 1
        return sums

    def _behind(
        self, texts: Sequence[tuple[int, Tokens]], cache: KeptPrefix, lengths: Tensor, *, every: bool = False
    ) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
        """Log-probabilities (vocabulary,) of what follows tokens behind kept prompts.

        Args:
            texts: the row of a prompt, and the tokens.
            every: whether what follows each of the tokens is read, or only the last one.

        Yields:
            the place of the text and of the token in it, and the log-probabilities.
        """
        width = int(lengths.max())
        fitting = max(1, max(KEPT_TOKENS, self.max_tokens) // width)
        for bucket in buckets([len(tokens) for _, tokens in texts], max_tokens=self.max_tokens, slack=LAUNCH_TOKENS):
            for start in range(0, len(bucket), fitting):
                part = bucket[start : start + fitting]
                at_row = torch.tensor([texts[place][0] for place in part], device=lengths.device)
                kept = lengths[at_row]
                new = [texts[place][1] for place in part]
                rows = Rows.behind(kept, width, new)
                hidden = self._forward.blocks(rows, cache=cache.grown(kept, width, rows=at_row))
                read = [
                    (row, column)
                    for row, tokens in enumerate(new)
                    for column in (range(len(tokens)) if every else [len(tokens) - 1])
                ]
                vectors = hidden[[row for row, _ in read], [column for _, column in read]]
                for index, log_probs in self._log_probs(vectors):
                    row, column = read[index]
                    yield (part[row], column), log_probs

    def _log_probs(self, hidden: Tensor) -> Iterator[tuple[int, NDArray[Any]]]:
        """Log-probabilities (vocabulary,) after each of (n, hidden) vectors, with its place."""
        at_once = max(1, LOGITS // self._forward.host.vocabulary)
        for start in range(0, len(hidden), at_once):
            found = self._forward.head(hidden[start : start + at_once]).log_softmax(dim=1).cpu().numpy()
            for row, log_probs in enumerate(found):
                yield start + row, log_probs


def _key(question: HeldQuestion) -> tuple[object, ...]:
    """What a question asks, without the name that it has in its case."""
    asked = (question.prompts, question.object, question.candidates, question.scores, question.share)
    return (*asked, question.joiner, question.not_rivals)


def _summed_up(question: HeldQuestion, search: Search | None, others: Iterable[Search]) -> HeldAnswer:
    if search is None:
        return HeldAnswer(None)
    won = all(map(search.wins, question.scores))
    paraphrases = list(others)
    share = None
    if paraphrases:
        share = sum(all(map(each.wins, question.scores)) for each in paraphrases) / len(paraphrases)
        won = won and share >= question.share
    asked = [score for score in BOTH if score in search.scores]
    wins = {score: search.wins(score) for score in asked}
    if search.goal is Goal.WINS_ALL and not all(wins.values()):
        wins = dict.fromkeys((score for score, won_by in wins.items() if not won_by), False)
    strongest = {score: search.strongest(score) for score in asked}
    return HeldAnswer(
        holds=won,
        wins=wins,
        log_probabilities={score: search.own[score] for score in BOTH},
        strongest={score: found for score, found in strongest.items() if found is not None},
        share=share,
        tokens=len(search.target),
        rows=search.rows + sum(each.rows for each in paraphrases),
    )
