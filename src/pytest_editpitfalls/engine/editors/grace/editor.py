"""GRACE: a codebook of outputs for one module, used near its keys (Hartvigsen et al. 2023, arXiv 2211.11031).

Released code: Thartvigsen/GRACE grace/editors/grace.py, with EasyEdit's presets (zjunlp/EasyEdit hparams/GRACE).

- Module: any one module of one block. The presets' own (GPT2-XL: ``mlp.c_fc``), otherwise the down-projection that
  the family declares, or the whole MLP where that is a mixture of experts.
- Key: the module's input on the prompt's last token (special tokens of the prompt included).
- Value: what takes the place of the module's output, on the last prompt token (``replace_last``, EasyEdit) or on all
  tokens before it (``replace_prompt``, the authors). Drawn from uniform(0, 1), seeded per case; Adam (fresh per edit)
  on the cross-entropy of the target tokens given prompt and preceding target, mean over the tokens.
- ``reg = early_stop``: a case stops once its loss is under `STOP_LOSS`. The released code reads ``reg`` nowhere.
- Codebook: `Codebook.with_entry` has the rules. Labels are compared as token ids; the released code compares the mean
  of the ids, which takes different targets for the same.
- Routing: each row decides for itself, on its prompt's last token. The target's tokens follow with keys and values of
  that prompt, so nothing is replaced there.
- Several requests of one step are written one after another.

Where the value lives: at the module's own output. Where a norm follows the MLP (Gemma 2, Gemma 3, post-norm OPT) the
value passes it as the module's output would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.draws import generator_of
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.overlay import Overlay, without
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.stopping import Stopping
from pytest_editpitfalls.engine.upper_blocks import OutputChange, PromptRow, RowGroup, UpperBlocks, adding
from pytest_editpitfalls.errors import CaseError, UnscorableCase

from .codebook import Codebook
from .hyperparameters import GraceHyperparameters

STOP_LOSS = 0.01
"""Mean -log p of the target's tokens under which a value is good enough."""


class Grace(ShippedEditor[GraceHyperparameters]):
    """The batched editor. See the module's docstring.

    Raises:
        UsageError: the model has no such module.
    """

    name = "grace"

    def __init__(self, hyperparameters: GraceHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._module = hyperparameters.module_path(self._host.family)
        self._host.module(self._module, where="grace.module")
        self._last_only = hyperparameters.replacement == "replace_last"

    def weights(self) -> tuple[str, ...]:
        """The module whose output it changes."""
        return (self._module,)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests one after another into the job's codebook."""
        results = [EditResult(job.model, job.state) for job in jobs]
        for turn in range(max((len(job.requests) for job in jobs), default=0)):
            kept: list[int] = []
            rows: list[PromptRow] = []
            for index, job in enumerate(jobs):
                if turn < len(job.requests) and results[index].error is None:
                    try:
                        rows.append(self._row(len(kept), job, turn))
                        kept.append(index)
                    except (CaseError, UnscorableCase) as error:
                        results[index] = EditResult(error=f"edit {job.step}: {error}")
            if kept:
                self._turn(turn, kept, rows, jobs, results, progress)
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters and the module."""
        return super().describe() | {"module": self._module, "stop_loss": STOP_LOSS}

    def _row(self, place: int, job: EditJob, turn: int) -> PromptRow:
        request = job.requests[turn]
        prompt = self._host.encoder.prompt(request.question)
        if not self._last_only and len(prompt) < 2:
            raise CaseError(
                f"the prompt {request.question!r} is one token: replace_prompt has nothing to replace",
                fix="--pitfalls-set grace.replacement=replace_last",
            )
        start = len(prompt) - 1 if self._last_only else 0
        target = self._host.encoder.target(request.target_new, request.joiner)
        return PromptRow(place, prompt, target, 1 / len(target), start)

    def _turn(
        self,
        turn: int,
        kept: list[int],
        rows: list[PromptRow],
        jobs: Sequence[EditJob],
        results: list[EditResult],
        progress: ProgressCallback,
    ) -> None:
        """Write one request of every case in ``kept``; ``rows`` are theirs."""
        others = [without(results[index].model, Codebook) for index in kept]
        upper = UpperBlocks(
            self._resources.forward,
            Overlay(self._host, others),
            range(len(kept)),
            self._hp.layers[0],
            [self._host.module(self._module)],
            rows,
            max_tokens=self._resources.max_tokens,
            by_job=True,
        )
        books: list[Codebook] = []
        entries: list[int] = []
        remarks: list[tuple[str, ...]] = []
        keys, width = self._keys(upper, len(kept))
        for place, index in enumerate(kept):
            job, label = jobs[index], rows[place].target
            draw = generator_of(self._resources.settings.seed, job.case_id, job.step, turn)
            cold = torch.rand(width, generator=draw, dtype=torch.float64).to(keys)
            book: Codebook | None = results[index].state
            entry, remark = 0, None
            if book is None:
                radii = keys.new_tensor([self._hp.eps])
                book = Codebook(self._module, keys[place][None], cold[None], radii, (label,), self._last_only)
            else:
                book, entry, remark = book.with_entry(keys[place], label, self._hp.eps, cold)
            books.append(book)
            entries.append(entry)
            remarks.append((f"edit {job.step}: {remark}",) if remark else ())
        start = torch.stack([book.values[entry] for book, entry in zip(books, entries, strict=True)])
        learnt = self._train(upper, start, progress)
        for place, index in enumerate(kept):
            values = books[place].values.clone()
            values[entries[place]] = learnt[place]
            book = replace(books[place], values=values)
            results[index] = EditResult((*others[place], book), book, results[index].notes + remarks[place])

    def _keys(self, upper: UpperBlocks, count: int) -> tuple[Tensor, int]:
        """(count, d_k) the module's input on each case's last prompt token, and d_o."""
        (sample,) = upper.groups[0].captured
        keys = sample.inputs.new_zeros(count, sample.inputs.shape[-1])
        for group in upper.groups:
            each = torch.arange(len(group.job), device=group.job.device)
            keys[group.job] = group.captured[0].inputs[each, group.last]
        return keys, sample.outputs.shape[-1]

    @torch.enable_grad()
    def _train(self, upper: UpperBlocks, start: Tensor, progress: ProgressCallback) -> Tensor:
        """(cases, d_o) values from ``start``, each by its own loss alone."""
        value = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([value], lr=self._hp.edit_lr)
        stopping = Stopping(len(value), value.device)
        for step in range(self._hp.n_iter):
            adam.zero_grad()
            loss = torch.zeros(len(value), device=value.device, dtype=value.dtype)
            for group in upper.groups:
                part = upper.loss(group, [self._change(group, value)], len(value))
                part.sum().backward()
                loss += part.detach()
            stopping.stop(loss < STOP_LOSS)
            progress(Progress("edit", step + 1, self._hp.n_iter))
            still_going = stopping.poll()
            if still_going is not None and not bool(still_going.any()):
                break
            frozen = value.detach().clone()
            adam.step()
            with torch.no_grad():
                value.copy_(torch.where(stopping.going[:, None], value, frozen))
            if still_going is not None:
                upper.drop_stopped(still_going.to(value.device))
        return value.detach()

    def _change(self, group: RowGroup, value: Tensor) -> OutputChange:
        """Adds to the module's output what lets the value stand where it belongs."""
        (captured,) = group.captured
        column = torch.arange(captured.outputs.shape[1], device=value.device)
        last = group.last[:, None]
        place = column == last if self._last_only else column < last
        update = (value[group.job][:, None] - captured.outputs) * place[:, :, None]
        return adding(update)
