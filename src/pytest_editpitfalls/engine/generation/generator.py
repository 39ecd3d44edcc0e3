"""Greedy decoding of many edited models in one batch, with their keys and values kept from token to token.

The prompts run as in scoring (`Rows`: right-padded, each row with its own model's changes). Then their keys and values
are moved to the right, so that every row goes on at the same column, and each pass adds one token to each row. Rows
that have ended leave the batch. What is said is what ``generate(do_sample=False)`` of each edited model says alone.
What a generation config asks for besides (a repetition penalty, suppressed tokens) is not applied: the model is
measured, not that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.overlay import EditedModel, Overlay, RowContext
from pytest_editpitfalls.engine.scoring.questions import Tokens, that_share
from pytest_editpitfalls.engine.scoring.scorer import KEPT_TOKENS
from pytest_editpitfalls.probes import Stop

from .cache import GrowingCache
from .text_ends import cut, is_over

FINISHED = 0.25
"""Share of a batch's rows that have to have ended before the others go on without them: taking rows out costs a copy of
their keys and values."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What edited model number ``model`` goes on with.

    Attributes:
        tokens: of the prompt.
        max_tokens: the most that are generated.
        stop: where its text ends before that.
    """

    model: int
    tokens: Tokens
    max_tokens: int
    stop: Stop = "never"


@dataclass(slots=True)
class Continued:
    """What a model said.

    Attributes:
        tokens: that were generated, the end-of-text token included where it is one of them.
        text: what they say, up to where it ends.
        is_finite: False where a logit was NaN or infinite: nothing was said.
    """

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    is_finite: bool = True


class Generator:
    """Continues prompts in batches of at most ``max_tokens`` padded tokens."""

    def __init__(self, forward: Forward, *, max_tokens: int) -> None:
        self._forward, self._host = forward, forward.host
        self._max_tokens = max_tokens
        self._kept = max(KEPT_TOKENS, max_tokens)
        self._ends = _end_tokens(self._host.model)

    @torch.no_grad()
    def continued(self, models: Sequence[EditedModel], prompts: Sequence[Prompt]) -> list[Continued]:
        """Return what each prompt's model says; equal prompts are asked once."""
        if not prompts:
            return []
        overlay = Overlay(self._host, models)
        found = {prompt: Continued() for prompt in prompts}
        whole = [prompt for prompt in found if overlay.whole_rows(prompt.model)]
        for prompt in whole:
            found[prompt] = self._alone(overlay, prompt)
        for rows in self._batches(overlay, [prompt for prompt in found if not overlay.whole_rows(prompt.model)]):
            self._together(overlay, rows, [found[prompt] for prompt in rows])
        for prompt, said in found.items():
            said.text = cut(self._text(said.tokens), prompt.stop)
        return [found[prompt] for prompt in prompts]

    @torch.no_grad()
    def next_logits(self, models: Sequence[EditedModel], asked: Sequence[tuple[int, Tokens]]) -> Tensor:
        """Return the next token's logits (asked, vocabulary) for each (edited model, prompt)."""
        overlay = Overlay(self._host, models)
        places = {Prompt(model, tokens, 0): place for place, (model, tokens) in enumerate(asked)}
        found: list[Tensor | None] = [None] * len(asked)
        for prompt, place in places.items():
            if overlay.whole_rows(prompt.model):
                with overlay.serving(prompt.model):
                    ids = torch.tensor([prompt.tokens], device=self._host.device)
                    found[place] = self._host.model(input_ids=ids, use_cache=False).logits[0, -1]
        for rows in self._batches(overlay, [each for each, place in places.items() if found[place] is None]):
            logits, _, _ = self._prompts(overlay, rows, None)
            for prompt, row in zip(rows, logits, strict=True):
                found[places[prompt]] = row
        return torch.stack([found[places[Prompt(model, tokens, 0)]] for model, tokens in asked])  # type: ignore[misc]

    def _batches(self, overlay: Overlay, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        """Cut prompts into batches that may share their passes."""
        for group in that_share(overlay, [(place, prompt.model) for place, prompt in enumerate(prompts)]):
            lengths = [len(prompts[place].tokens) for place, _ in group]
            for bucket in buckets(lengths, max_tokens=self._max_tokens, slack=LAUNCH_TOKENS):
                rows = [prompts[group[index][0]] for index in bucket]
                widest = max(len(each.tokens) for each in rows) + max(each.max_tokens for each in rows)
                most = max(1, self._kept // widest)
                for start in range(0, len(rows), most):
                    yield rows[start : start + most]

    def _prompts(
        self, overlay: Overlay, rows: Sequence[Prompt], cache: KeptPrefix | None
    ) -> tuple[Tensor, RowContext, Tensor]:
        """Run prompts: logits (rows, vocabulary) of the next token, the rows' context, and their lengths."""
        device = self._host.device
        batch = Rows.pad([prompt.tokens for prompt in rows], device)
        lengths = torch.tensor([len(prompt.tokens) for prompt in rows], device=device)
        models = torch.tensor([prompt.model for prompt in rows], device=device)
        row = torch.arange(len(rows), device=device)
        with overlay.rows(models, lengths) as served:
            hidden = self._forward.blocks(batch, cache=cache, asked=row * batch.ids.shape[1] + lengths - 1)
            return self._forward.head(hidden[row, lengths - 1]), served, lengths

    def _together(self, overlay: Overlay, prompts: Sequence[Prompt], said: Sequence[Continued]) -> None:
        """Continue prompts of one batch to their ends."""
        device = self._host.device
        kept = KeptPrefix.empty(self._forward.n_layers)
        logits, served, lengths = self._prompts(overlay, prompts, kept)
        width = int(lengths.max())
        room = max(prompt.max_tokens for prompt in prompts) - 1
        cache = GrowingCache(kept.grown(lengths, width), room)
        del kept
        rows = list(range(len(prompts)))  # those that are in the batch, whether they have ended or not
        going = self._say(logits, prompts, said, rows, set(rows))
        while going:
            stay = [place for place, row in enumerate(rows) if row in going]
            chosen = torch.tensor(stay, device=device)
            if len(stay) < len(rows):
                cache.keep(chosen)
            rows, lengths, served = [rows[place] for place in stay], lengths[chosen], served.take(chosen)
            with overlay.going_on(served), self._host.prepacked.everywhere():
                while going and len(going) > len(rows) * (1 - FINISHED):
                    latest = [[said[row].tokens[-1]] for row in rows]
                    batch = Rows.behind(lengths, cache.length, latest)
                    logits = self._host.model(
                        input_ids=batch.ids,
                        attention_mask=batch.mask,
                        position_ids=batch.positions,
                        past_key_values=cache,
                        use_cache=True,
                    ).logits[:, -1]
                    lengths = lengths + 1
                    going = self._say(logits, prompts, said, rows, going)

    def _say(
        self,
        logits: Tensor,
        prompts: Sequence[Prompt],
        said: Sequence[Continued],
        rows: Sequence[int],
        going: set[int],
    ) -> set[int]:
        """Add each row's likeliest token, the first of equal ones; returns the rows that go on."""
        likeliest, best = logits.argmax(dim=1).tolist(), logits.max(dim=1).values.isfinite().tolist()
        left = set()
        for row, token, is_finite in zip(rows, likeliest, best, strict=True):
            if row not in going:
                continue
            if not is_finite:
                said[row].is_finite = False
                continue
            said[row].tokens.append(token)
            if not self._has_ended(said[row].tokens, prompts[row]):
                left.add(row)
        return left

    def _has_ended(self, tokens: list[int], prompt: Prompt) -> bool:
        if tokens[-1] in self._ends or len(tokens) >= prompt.max_tokens:
            return True
        return prompt.stop != "never" and is_over(self._text(tokens), prompt.stop)

    def _alone(self, overlay: Overlay, prompt: Prompt) -> Continued:
        """By the model's own ``generate``: something on it may look at more than one layer or one token."""
        ids = torch.tensor([prompt.tokens], device=self._host.device)
        said = Continued()
        ends, pad = sorted(self._ends) or None, min(self._ends, default=0)
        with overlay.serving(prompt.model), _plainly_configured(self._host.model, ends, pad):
            found = self._host.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=GenerationConfig(
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=prompt.max_tokens,
                    eos_token_id=ends,
                    pad_token_id=pad,
                    return_dict_in_generate=True,
                    output_logits=True,
                ),
            )
        for token, logits in zip(found.sequences[0, len(prompt.tokens) :].tolist(), found.logits, strict=True):
            if not bool(logits.max().isfinite()):
                said.is_finite = False
                break
            said.tokens.append(token)
            if self._has_ended(said.tokens, prompt):
                break
        return said

    def _text(self, tokens: Sequence[int]) -> str:
        ids = [token for token in tokens if token not in self._ends]
        text = self._host.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


@contextmanager
def _plainly_configured(model: Any, ends: list[int] | None, pad: int) -> Iterator[None]:
    """While open, the model has a generation config of no wishes: what a call leaves open is filled from there."""
    own = model.generation_config
    try:
        model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
        yield
    finally:
        model.generation_config = own


def _end_tokens(model: object) -> frozenset[int]:
    """The tokens that end a text, as the model's own ``generate`` knows them."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset([ends] if isinstance(ends, int) else ends or ())
