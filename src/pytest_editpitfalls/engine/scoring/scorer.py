"""Prompts x targets x edited models to log-probabilities.

Each prompt is encoded once per edited model and shared by all its targets; blocks below the lowest edited one are run
once per prompt and shared by all edited models (`lower_blocks`); the vocabulary projection is read where a target token
is predicted. Where only one target of a prompt is longer than a token, it runs behind the prompt in the same pass;
otherwise targets go on with the prompt's keys and values. So do prompts that start as another one of the same edited
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.overlay import EditedModel, Overlay

from .continuations import Continuation, Continuations, Reading, read, readings_behind
from .lower_blocks import lower_blocks
from .questions import (
    Answers,
    Follower,
    Question,
    Text,
    Tokens,
    behind,
    by_common_start,
    following,
    texts_of,
    that_share,
)

KEPT_TOKENS = 8192
"""Tokens whose keys and values one pass may keep, where prompts are far longer than what is new in them."""


@dataclass
class _TextBatch:
    """Texts of one bucket after the blocks that all edited models share.

    Attributes:
        rows: what of them is to be run.
        lengths: (rows,) tokens of the whole prompts.
        shared: number of these blocks.
        hidden: (rows, tokens, hidden) after the blocks that are shared, where there are any.
        cache: keys and values of those blocks.
        common: keys and values (one row) of the tokens that all prompts start with; `rows` come behind them.
        followers: the texts that go on behind tokens of these, by text and edited model.
    """

    texts: list[Text]
    rows: Rows
    lengths: Tensor
    shared: int
    hidden: Tensor | None = None
    cache: KeptPrefix | None = None
    common: KeptPrefix | None = None
    followers: dict[tuple[Text, int], list[Follower]] = field(default_factory=dict)

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

    @property
    def forward(self) -> Forward:
        """The model."""
        return self._forward

    @property
    def max_tokens(self) -> int:
        """The most padded tokens per pass."""
        return self._max_tokens

    @property
    def dtype(self) -> torch.dtype:
        """Of the model."""
        return self._forward.host.dtype

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
        texts = texts_of({asked: found for asked, found in answers.items() if not overlay.whole_rows(asked[1])})
        for model in dict.fromkeys(model for _, model in answers):
            if overlay.whole_rows(model):
                self._whole_rows(overlay, model, answers)
        for start, group in by_common_start(texts, overlay):
            common = self._encode(start) if start else None
            # Only unchanged models are asked behind a common start: there is nothing else to share.
            followers = {} if start else following({text: texts[text] for text in group}, answers, overlay)
            led = {(each.text, model) for (_, model), follow in followers.items() for each in follow}
            leading = {text: [model for model in texts[text] if (text, model) not in led] for text in group}
            group = [text for text in group if leading[text]]
            lengths = [len(text.prompt) + len(text.behind) - len(start) for text in group]
            waiting = Continuations(
                self._forward,
                overlay,
                0 if start else shared,
                max_tokens=self._max_tokens,
                kept=self._kept,
            )
            for bucket in self._cut(lengths, self._max_tokens):
                chosen = [group[index] for index in bucket]
                batch = self._encoded(chosen, 0 if start else shared, common)
                batch.followers = followers
                self._bucket(overlay, batch, leading, answers, waiting)
            waiting.run()
        return [answers[q.prompt, q.model][q.target] / len(q.target) for q in questions]

    @staticmethod
    def _cut(lengths: list[int], max_tokens: int) -> list[list[int]]:
        return buckets(lengths, max_tokens=max_tokens, slack=LAUNCH_TOKENS)

    def _encode(self, start: Tokens) -> KeptPrefix:
        """Keys and values of tokens that many prompts start with, by the base model."""
        cache = KeptPrefix.empty(self._forward.n_layers)
        self._forward.blocks(Rows.pad([start], self._forward.host.device), cache=cache)
        return cache.grown(torch.tensor([len(start)], device=self._forward.host.device), len(start))

    def _encoded(self, texts: list[Text], shared: int, common: KeptPrefix | None) -> _TextBatch:
        """Texts after the first ``shared`` blocks."""
        device = self._forward.host.device
        lengths = torch.tensor([len(text.prompt) for text in texts], device=device)
        before = 0 if common is None else common.length
        kept = torch.full_like(lengths, before)
        rows = Rows.behind(kept, before, [(text.prompt + text.behind)[before:] for text in texts])
        batch = _TextBatch(texts, rows, lengths, shared, common=common)
        if shared:
            whole = [text.prompt + text.behind for text in texts]
            batch.hidden, batch.cache = lower_blocks(self._forward, whole, shared)
        return batch

    def _bucket(
        self,
        overlay: Overlay,
        batch: _TextBatch,
        models: Mapping[Text, Sequence[int]],
        answers: Answers,
        waiting: Continuations,
    ) -> None:
        """Score the texts of a bucket with all the models that are asked."""
        pairs = [(index, model) for index, text in enumerate(batch.texts) for model in models[text]]
        size = max(1, min(self._max_tokens // batch.rows.ids.shape[1], self._kept // batch.width))
        for group in that_share(overlay, pairs):
            alone = overlay.alone(group[0][1])
            if alone:
                waiting.run()  # what waits is of other models
            for start in range(0, len(group), size):
                self._chunk(overlay, batch, group[start : start + size], answers, waiting)
            if alone:
                waiting.run()

    def _whole_rows(self, overlay: Overlay, model: int, answers: Answers) -> None:
        """Prompt and target in one ordinary call of the Hugging Face model, padded on the right; one model alone."""
        device = self._forward.host.device
        wanted = [(prompt, target) for (prompt, known), found in answers.items() if known == model for target in found]
        served = torch.tensor([model], device=device)
        # Logits of every token are made: fewer rows than where only the target's are.
        lengths_of = [len(prompt) + len(target) for prompt, target in wanted]
        if overlay.independent_rows(model):
            parts = self._cut(lengths_of, self._max_tokens // 2)
        else:  # what is attached may decide for all rows of a pass at once (WISE in EasyEdit routes by their mean)
            parts = [[index] for index in range(len(wanted))]
        for part in parts:
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
        batch: _TextBatch,
        pairs: list[tuple[int, int]],
        answers: Answers,
        waiting: Continuations,
    ) -> None:
        """Score some (text, model) pairs: writes summed log-probabilities into ``answers``, or what is there so far.

        The rest is added when ``waiting`` is run.
        """
        forward, device = self._forward, self._forward.host.device
        text_of = torch.tensor([index for index, _ in pairs], device=device)
        model_of = torch.tensor([model for _, model in pairs], device=device)
        if batch.common is None:
            cache = KeptPrefix.empty(forward.n_layers)
        else:
            cache = batch.common.growing(torch.zeros_like(text_of))
        found = [answers[batch.texts[index].prompt, model] for index, model in pairs]
        last = batch.lengths[text_of] - batch.before - 1
        rows = batch.rows.select(text_of)
        column = torch.arange(rows.ids.shape[1], device=device)
        beyond = torch.tensor([len(behind(each)) for each in found], device=device)
        rows.real &= column <= (last + beyond)[:, None]
        # What runs behind a prompt is read to its end.
        asked = (rows.real & (column >= last[:, None])).flatten().nonzero()[:, 0]
        ends, rest = _behind_the_prompts(batch, pairs, answers)
        with overlay.rows(model_of, batch.lengths[text_of]) as served:
            hidden = forward.blocks(
                rows,
                first=batch.shared,
                hidden=None if batch.hidden is None else batch.hidden[text_of],
                cache=cache,
                asked=asked,
            )
            log_probs = forward.head(hidden[torch.arange(len(pairs), device=device), last]).log_softmax(dim=1)
            first = [(row, target) for row, asked_of in enumerate(found) for target in asked_of]
            values = log_probs[[row for row, _ in first], [target[0] for _, target in first]].double()
            del log_probs
            for (row, target), value in zip(first, values.tolist(), strict=True):
                found[row][target] = value
            read(forward, hidden, ends)
        if rest:
            at_row = torch.tensor([row for row, _ in rest], device=device)
            kept = torch.tensor([len(each.before) for _, each in rest], device=device)
            width = int(kept.max())
            below = None
            if batch.cache is not None:
                below = batch.cache.grown(kept, width, rows=text_of[at_row])
            above = cache.grown(kept, width, rows=at_row, first=batch.shared)
            waiting.add([each for _, each in rest], served.take(at_row), above, below)


def _behind_the_prompts(
    batch: _TextBatch, pairs: Sequence[tuple[int, int]], answers: Answers
) -> tuple[list[tuple[int, Reading]], list[tuple[int, Continuation]]]:
    """What is read behind the prompts of the pass, and what goes on from it in a later one; each with its row."""
    ends: list[tuple[int, Reading]] = []
    rest: list[tuple[int, Continuation]] = []
    for row, (index, model) in enumerate(pairs):
        text = batch.texts[index]
        found = answers[text.prompt, model]
        in_this_pass = bool(behind(found))
        for target in found:
            if len(target) > 1 and in_this_pass:
                at = len(text.prompt) - batch.before
                ends += [(row, each) for each in readings_behind(target, found, at)]
            elif len(target) > 1:
                rest.append((row, Continuation(text.prompt, target[:-1], readings_behind(target, found, 0))))
        rest += [
            (row, _continued(each, answers[each.text.prompt, model])) for each in batch.followers.get((text, model), ())
        ]
    return ends, rest


def _continued(follower: Follower, answers: dict[Tokens, float]) -> Continuation:
    """A follower behind the text that it follows."""
    prompt, shared = follower.text.prompt, follower.shared
    column = len(prompt) - shared - 1
    readings = []
    for target in answers:
        readings.append(Reading(column, target[0], answers, target))
        readings += readings_behind(target, answers, column + 1)
    return Continuation(prompt[:shared], (prompt + behind(answers))[shared:], readings)
