"""Prompts x targets x edited models to log-probabilities.

Each prompt is encoded once per edited model and shared by all its targets; blocks below the lowest edited one are run
once per prompt and shared by all edited models; the vocabulary projection is read where a target token is predicted.
Where only one target of a prompt is longer than a token, it runs behind the prompt in the same pass; else targets go
on with the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .bucketing import buckets
from .forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows
from .overlay import EditedModel, Overlay, RowContext

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """How likely is ``target`` after ``prompt`` for edited model number ``model``? All are token ids."""

    model: int
    prompt: Tokens
    target: Tokens


Answers = dict[tuple[Tokens, int], dict[Tokens, float]]
"""(prompt, edited model) -> target -> its summed log-probability."""


class _Text(NamedTuple):
    """What runs as one row: a prompt, and the tokens behind it that predict the rest of a target."""

    prompt: Tokens
    behind: Tokens


SHARED_TOKENS = 64
"""Tokens that prompts must have in common at their start before these are encoded only once."""

KEPT_TOKENS = 8192
"""Tokens whose keys and values one pass may keep, where prompts are far longer than what is new in them."""


@dataclass
class _TextBatch:
    """Texts of one bucket after the blocks that all edited models share.

    Attributes:
        texts: the texts.
        rows: what of them is to be run.
        lengths: (rows,) tokens of the whole prompts.
        hidden: (rows, tokens, hidden) after the blocks that are shared, where there are any.
        cache: keys and values of those blocks.
        common: keys and values (one row) of the tokens that all prompts start with; `rows` come behind them.
    """

    texts: list[_Text]
    rows: Rows
    lengths: Tensor
    hidden: Tensor | None = None
    cache: KeptPrefix | None = None
    common: KeptPrefix | None = None

    @property
    def before(self) -> int:
        return 0 if self.common is None else self.common.length

    @property
    def width(self) -> int:
        return self.before + self.rows.ids.shape[1]


class Scorer:
    """Answers questions in batches of at most ``max_tokens`` padded tokens."""

    def __init__(self, forward: Forward, *, max_tokens: int) -> None:
        self._forward = forward
        self._max_tokens = max_tokens
        self._kept = max(KEPT_TOKENS, max_tokens)

    @torch.no_grad()
    def mean_log_probs(self, models: Sequence[EditedModel], questions: Sequence[Question]) -> list[float]:
        """Mean log-probability of each question's target tokens, teacher-forced, natural logarithm.

        Args:
            models: the edited models; `Question.model` is an index into it.
            questions: in any order; equal ones are computed once.
        """
        overlay = Overlay(self._forward.host, models)
        # Where nothing is edited there is nothing to share: all blocks run in one go.
        shared = min(overlay.lowest_layer(default=0), self._forward.n_layers - 1)
        answers: Answers = {}
        for question in questions:
            answers.setdefault((question.prompt, question.model), {})[question.target] = 0.0
        texts: dict[_Text, list[int]] = {}
        for (prompt, model), found in answers.items():
            if not overlay.whole_rows(model):
                texts.setdefault(_Text(prompt, _behind(found)), []).append(model)
        for model in dict.fromkeys(model for _, model in answers):
            if overlay.whole_rows(model):
                self._whole_rows(overlay, model, answers)
        for start, group in _by_common_start(texts, overlay):
            common = self._encode(start) if start else None
            lengths = [len(text.prompt) + len(text.behind) - len(start) for text in group]
            for bucket in self._cut(lengths, self._max_tokens):
                chosen = {group[index]: texts[group[index]] for index in bucket}
                # Only unchanged models are asked behind a common start: there is nothing else to share.
                self._bucket(overlay, 0 if start else shared, chosen, answers, common)
        return [answers[q.prompt, q.model][q.target] / len(q.target) for q in questions]

    @staticmethod
    def _cut(lengths: list[int], max_tokens: int) -> list[list[int]]:
        return buckets(lengths, max_tokens=max_tokens, slack=LAUNCH_TOKENS)

    def _encode(self, start: Tokens) -> KeptPrefix:
        """Keys and values of tokens that many prompts start with, by the base model."""
        cache = KeptPrefix.empty(self._forward.n_layers)
        self._forward.blocks(Rows.pad([start], self._forward.host.device), cache=cache)
        return cache.grown(torch.tensor([len(start)], device=self._forward.host.device), len(start))

    def _bucket(
        self,
        overlay: Overlay,
        shared: int,
        texts: dict[_Text, list[int]],
        answers: Answers,
        common: KeptPrefix | None,
    ) -> None:
        device = self._forward.host.device
        lengths = torch.tensor([len(text.prompt) for text in texts], device=device)
        before = 0 if common is None else common.length
        kept = torch.full_like(lengths, before)
        rows = Rows.behind(kept, before, [(text.prompt + text.behind)[before:] for text in texts])
        batch = _TextBatch(list(texts), rows, lengths, common=common)
        if shared:
            batch.cache = KeptPrefix.empty(self._forward.n_layers)
            batch.hidden = self._forward.blocks(batch.rows, last=shared, cache=batch.cache)
        pairs = [(index, model) for index, text in enumerate(texts) for model in texts[text]]
        size = max(1, min(self._max_tokens // batch.rows.ids.shape[1], self._kept // batch.width))
        for group in _that_share(overlay, pairs):
            for start in range(0, len(group), size):
                self._chunk(overlay, shared, batch, group[start : start + size], answers)

    def _whole_rows(
        self,
        overlay: Overlay,
        model: int,
        answers: Answers,
    ) -> None:
        """Prompt and target in one ordinary call of the Hugging Face model, padded on the right; one model alone."""
        device = self._forward.host.device
        wanted = [
            (prompt, target)
            for (prompt, known), found in answers.items()
            if known == model
            for target in found
        ]
        served = torch.tensor([model], device=device)
        # Logits of every token are made: fewer rows than where only the target's are.
        for part in self._cut(
            [len(prompt) + len(target) for prompt, target in wanted], self._max_tokens // 2
        ):
            pairs = [wanted[index] for index in part]
            rows = [(*prompt, *target) for prompt, target in pairs]
            ids = Rows.pad(rows, device).ids
            lengths = torch.tensor([len(row) for row in rows], device=device)
            mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
            with overlay.rows(served, torch.tensor([len(prompt) for prompt, _ in pairs], device=device)):
                logits = self._forward.host.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for row, (prompt, target) in enumerate(pairs):
                found = logits[row, len(prompt) - 1 : len(prompt) + len(target) - 1]
                found = found.float() if found.dtype in (torch.float16, torch.bfloat16) else found
                tokens = torch.tensor(target, device=device)
                values = found.log_softmax(dim=1).gather(1, tokens[:, None])
                answers[prompt, model][target] = float(values.double().sum())

    def _chunk(
        self,
        overlay: Overlay,
        shared: int,
        batch: _TextBatch,
        pairs: list[tuple[int, int]],
        answers: Answers,
    ) -> None:
        """Score all targets of some (text, model) pairs; writes summed log-probabilities into ``answers``."""
        forward, device = self._forward, self._forward.host.device
        text_of = torch.tensor([index for index, _ in pairs], device=device)
        model_of = torch.tensor([model for _, model in pairs], device=device)
        if batch.common is None:
            cache = KeptPrefix.empty(forward.n_layers)
        else:
            cache = batch.common.growing(torch.zeros_like(text_of))
        found = [answers[batch.texts[index].prompt, model] for index, model in pairs]
        targets = [(row, target) for row, asked in enumerate(found) for target in asked]
        row_of = torch.tensor([row for row, _ in targets], device=device)
        first = torch.tensor([target[0] for _, target in targets], device=device)
        last = batch.lengths[text_of] - batch.before - 1
        with overlay.rows(model_of, batch.lengths[text_of]) as served:
            rows = batch.rows.select(text_of)
            # What runs behind a prompt is read to its end.
            column = torch.arange(rows.ids.shape[1], device=device)
            asked = (rows.real & (column >= last[:, None])).flatten().nonzero()[:, 0]
            hidden = forward.blocks(
                rows,
                first=shared,
                hidden=None if batch.hidden is None else batch.hidden[text_of],
                cache=cache,
                asked=asked,
            )
            log_probs = forward.head(hidden[torch.arange(len(pairs), device=device), last]).log_softmax(dim=1)
            sums = log_probs[row_of, first].double()
            del log_probs
            behind: list[int] = []
            longer: list[int] = []
            for index, (row, target) in enumerate(targets):
                if len(target) > 1:
                    (behind if batch.texts[pairs[row][0]].behind else longer).append(index)
            if behind:
                at = row_of[torch.tensor(behind, device=device)]
                more = self._of_tokens(hidden[at], last[at] + 1, [targets[i][1] for i in behind])
                sums[torch.tensor(behind, device=device)] += more
        parts = self._cut([len(targets[i][1]) - 1 for i in longer], max(64, self._max_tokens // 4))
        most = max(1, self._kept // batch.width)
        for part in (cut[at : at + most] for cut in parts for at in range(0, len(cut), most)):
            chosen = [longer[index] for index in part]
            at = row_of[torch.tensor(chosen, device=device)]
            more = self._continuations(
                overlay,
                shared,
                batch,
                cache,
                text_of[at],
                served.take(at),
                at,
                [targets[i][1] for i in chosen],
            )
            sums[torch.tensor(chosen, device=device)] += more
        for (row, target), value in zip(targets, sums.tolist(), strict=True):
            found[row][target] = value

    def _continuations(
        self,
        overlay: Overlay,
        shared: int,
        batch: _TextBatch,
        cache: KeptPrefix,
        text_of: Tensor,
        served: RowContext,
        row_of: Tensor,
        targets: list[Tokens],
    ) -> Tensor:
        """Summed log-probability (n,) of each target's second and later tokens, over the kept prompts."""
        forward, device = self._forward, self._forward.host.device
        lengths, width = batch.lengths[text_of], batch.width
        rows = Rows.behind(lengths, width, [target[:-1] for target in targets])
        hidden = None
        if batch.cache is not None:
            unique, back = _unique_pairs(text_of, targets)
            keep = torch.tensor(unique, device=device)
            kept = batch.cache.grown(lengths[keep], width, rows=text_of[keep])
            hidden = forward.blocks(rows.select(keep), last=shared, cache=kept)
            hidden = hidden[torch.tensor(back, device=device)]
        with overlay.going_on(served):
            hidden = forward.blocks(
                rows, first=shared, hidden=hidden, cache=cache.grown(lengths, width, rows=row_of)
            )
            return self._of_tokens(hidden, torch.zeros_like(row_of), targets)

    def _of_tokens(self, hidden: Tensor, start: Tensor, targets: list[Tokens]) -> Tensor:
        """Summed log-probability (n,) of each target's second and later tokens.

        Args:
            hidden: (n, tokens, hidden) after the last block.
            start: (n,) the column of each target's first token.
            targets: (n,) the targets.
        """
        device = hidden.device
        row = torch.tensor([i for i, t in enumerate(targets) for _ in t[1:]], device=device)
        behind = torch.tensor([c for t in targets for c in range(len(t) - 1)], device=device)
        token = torch.tensor([token for t in targets for token in t[1:]], device=device)
        values = self._forward.log_probs(hidden[row, start[row] + behind], token).double()
        return torch.zeros(len(targets), dtype=torch.float64, device=device).index_add_(0, row, values)


def _behind(targets: Iterable[Tokens]) -> Tokens:
    """What runs behind a prompt in its own pass: its only target of several tokens, without the last one."""
    long = [target for target in targets if len(target) > 1]
    return long[0][:-1] if len(long) == 1 else ()


def _by_common_start(texts: dict[_Text, list[int]], overlay: Overlay) -> list[tuple[Tokens, list[_Text]]]:
    """Texts in groups, each with the tokens that it starts with where these are worth to be encoded once.

    Prompts of one edited model share much where the edit is text before the prompt. Changed models are left alone:
    what they do may depend on the whole prompt.
    """
    groups: dict[tuple[int, ...], list[_Text]] = {}
    plain: list[_Text] = []
    for text, models in texts.items():
        (plain if any(map(overlay.changes, models)) else groups.setdefault(tuple(sorted(models)), [])).append(
            text
        )
    found = []
    for group in groups.values():
        prompts = [text.prompt for text in group]
        lowest, highest = min(prompts), max(prompts)
        limit = min(map(len, prompts)) - 1  # something of each prompt has to be left
        common = next((i for i, (a, b) in enumerate(zip(lowest, highest, strict=False)) if a != b), limit)
        if len(group) > 1 and min(common, limit) >= SHARED_TOKENS:
            found.append((lowest[: min(common, limit)], group))
        else:
            plain += group
    return [*found, ((), plain)] if plain else found


def _that_share(overlay: Overlay, pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """(text, model) pairs cut into groups that may share a pass; models that must be alone come each in one go."""
    groups: dict[int | None, list[tuple[int, int]]] = {}
    for text, model in pairs:
        groups.setdefault(model if overlay.alone(model) else None, []).append((text, model))
    return list(groups.values())


def _unique_pairs(text_of: Tensor, targets: list[Tokens]) -> tuple[list[int], list[int]]:
    """First index of each distinct (text, target), and for every index its place among those."""
    places: dict[tuple[int, Tokens], int] = {}
    unique: list[int] = []
    back: list[int] = []
    for index, key in enumerate(zip(text_of.tolist(), targets, strict=True)):
        if key not in places:
            places[key] = len(unique)
            unique.append(index)
        back.append(places[key])
    return unique, back
