"""WISE: a side copy of one matrix that only edited facts are routed to (Wang et al. 2024, arXiv 2405.14768).

Released code: zjunlp/EasyEdit easyeditor/models/wise. W' starts as W of the module (the presets': a down-projection)
and is trained by SGD (weight decay 1e-5 on all entries), the gradient multiplied by a random mask of ``mask_ratio``
ones, every entry of W' - W clamped to +-``norm_constraint`` after each step:

    L = NLL + [D_out - a]+ + [b - D_in]+ + [D_out - D_in + g]+          D = |act(x W') - act(x W)|_2, token average

NLL: -log p of the target's tokens given prompt and preceding target, mean over tokens, then over the context templates
(the bare prompt and sampled texts before it). D_in: of each of these prompts; D_out: of one irrelevant prompt per
edit, drawn per case from the sentences that ship (``irrelevant_prompts.txt``) and none with the edit's subject. As
released, hinges are averaged over the prompts where they are positive, ``act`` is the model's activation function
although it is applied to the module's output, and training stops when the loss is at most 0.02 and moved by at most
1e-4.

Inference, per row: W' is used where D of the prompt is above ``act_ratio`` times the least D_in at the end of this
case's edits; the decision is kept for the tokens that follow the prompt. Here D is averaged over the prompt's real
tokens, in training as well; the released code averages over padding and target too, decides by whole batches, and
takes the greatest instead of the mean in texts of more than 100 tokens.

Requests written together are trained together, their losses averaged. A later edit trains the same side copy further,
under the same mask. The released code draws a new mask after ``save_freq`` edits and merges side copies (TIES) after
``merge_freq``. A case has a few edits and starts from the base model, so neither ever happens here; a ``save_freq``
that a case could reach is refused.

Where a norm follows the MLP (Gemma 2, Gemma 3, post-norm OPT) W' acts before it, and the norm is replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from transformers.activations import ACT2FN

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.draws import generator_of
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.matrices import matrix_of
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import Overlay, without
from pytest_editpitfalls.engine.sampling import context_templates
from pytest_editpitfalls.engine.settings import ProgressCallback, as_part, silent
from pytest_editpitfalls.engine.upper_blocks import PromptRow, UpperBlocks
from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError
from pytest_editpitfalls.program import EditRequest

from .hyperparameters import WiseHyperparameters
from .side_copies import SideCopies
from .side_memory import SideMemory

TRAINING_BYTES = 2**30
"""What the side copies that are trained together may take: difference, gradient, mask and one temporary each."""


@keepable
@dataclass(frozen=True)
class WiseState:
    """What a case's next edit goes on with: its side copy, the least activation difference, the edits so far."""

    memory: SideMemory
    least: float
    edits: int


class Wise(ShippedEditor[WiseHyperparameters]):
    """The batched editor. See the module's docstring.

    Raises:
        UsageError: the module does not exist or has no matrix, or the model's activation function is not known.
    """

    name = "wise"

    def __init__(self, hyperparameters: WiseHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._module = hyperparameters.module_path(self._host.family)
        self._weight = _matrix(self._host, self._module)
        self._activation = _activation_name(self._host)
        self._templates: list[str] | None = None

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Context templates."""
        if self._templates is None:
            lengths, seed = self._hp.context_template_length_params, self._resources.settings.seed
            self._templates = context_templates(self._host, lengths, seed=seed)

    def weights(self) -> tuple[str, ...]:
        """The module whose output it changes."""
        return (self._module,)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Train each job's side copy on all its requests; as many copies at a time as memory allows.

        Raises:
            UsageError: ``save_freq`` edits are reached within a case.
        """
        self.prepare(progress)
        self._check_edits(jobs)
        size = max(1, TRAINING_BYTES // (4 * self._weight.nbytes))
        results: list[EditResult] = []
        for start in range(0, len(jobs), size):
            part = jobs[start : start + size]
            results += self._together(part, as_part(progress, start, len(part), len(jobs)))
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, module, templates and where the irrelevant prompts are from."""
        return super().describe() | {
            "module": self._module,
            "activation": self._activation,
            "context_templates": self._templates,
            "irrelevant_prompts": f"{len(irrelevant_prompts())} that ship",
        }

    def _check_edits(self, jobs: Sequence[EditJob]) -> None:
        for job in jobs:
            edits = len(job.requests) + (job.state.edits if job.state else 0)
            if edits >= self._hp.save_freq:
                raise UsageError(
                    f"save_freq is {self._hp.save_freq}, and case {job.case_id} has {edits} edit(s): new masks and the "
                    "merging of side copies, which would follow, are not served within a case",
                    where="wise.save_freq",
                    fix=f"--pitfalls-set wise.save_freq={max(500, edits + 1)} (and a merge_freq that is a multiple)",
                )

    def _together(self, jobs: Sequence[EditJob], progress: ProgressCallback) -> list[EditResult]:
        results = [EditResult() for _ in jobs]
        kept: list[int] = []
        inside: list[PromptRow] = []
        outside: list[PromptRow] = []
        request_of: list[int] = []
        for index, job in enumerate(jobs):
            try:
                found = [self._rows(job, turn, len(kept)) for turn in range(len(job.requests))]
            except (CaseError, UnscorableCase) as error:
                results[index] = EditResult(error=f"edit {job.step}: {error}")
                continue
            for rows, irrelevant in found:
                inside += rows
                request_of += [len(outside)] * len(rows)
                outside.append(irrelevant)
            kept.append(index)
        if not kept:
            return results
        others = [without(jobs[index].model, SideMemory) for index in kept]
        overlay = Overlay(self._host, others)

        def upper_blocks(rows: Sequence[PromptRow]) -> UpperBlocks:
            return UpperBlocks(
                self._resources.forward,
                overlay,
                range(len(kept)),
                self._hp.layers[0],
                [self._host.module(self._module)],
                rows,
                max_tokens=self._resources.max_tokens,
                by_job=True,
            )

        copies = SideCopies(
            self._hp,
            self._weight,
            ACT2FN[self._activation],
            upper_blocks(inside),
            upper_blocks(outside),
            request_of,
            [jobs[index].state.memory.weight if jobs[index].state else None for index in kept],
            [self._mask(jobs[index]) for index in kept],
            [row.job for row in outside],
        )
        copies.train(progress)
        for place, index in enumerate(kept):
            job, weight, least = jobs[index], copies.weights[place], copies.least[place]
            before: WiseState | None = job.state
            least = min(least, before.least) if before else least
            memory = SideMemory(self._module, weight, self._hp.act_ratio * least, self._activation)
            edits = len(job.requests) + (before.edits if before else 0)
            results[index] = EditResult((*others[place], memory), WiseState(memory, least, edits))
        return results

    def _rows(self, job: EditJob, turn: int, place: int) -> tuple[list[PromptRow], PromptRow]:
        """Rows of one request, one per template, and the row of its irrelevant prompt."""
        request, encoder = job.requests[turn], self._host.encoder
        templates = self._templates or ["{}"]
        target = encoder.target(request.target_new, request.joiner)
        weight = 1 / (len(templates) * len(job.requests)) / len(target)
        prompts = [encoder.prompt(template.replace("{}", request.question, 1)) for template in templates]
        rows = [PromptRow(place, prompt, target, weight) for prompt in prompts]
        draw = generator_of(self._resources.settings.seed, job.case_id, job.step, turn, "irrelevant")
        text = irrelevant_prompt(request, draw)
        return rows, PromptRow(place, encoder.prompt(text), (), 0.0)

    def _mask(self, job: EditJob) -> Tensor:
        """(d_o, d_k) which entries may be trained: the same for all edits of a case."""
        draw = generator_of(self._resources.settings.seed, job.case_id, "mask")
        return (torch.rand(self._weight.shape, generator=draw) < self._hp.mask_ratio).to(self._weight.device)


@cache
def irrelevant_prompts() -> tuple[str, ...]:
    """The irrelevant prompts that ship, one sentence or question each."""
    text = files(__package__).joinpath("irrelevant_prompts.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def irrelevant_prompt(request: EditRequest, draw: torch.Generator) -> str:
    """One of them that does not name the subject of ``request``."""
    known = irrelevant_prompts()
    fit = [text for text in known if request.subject.casefold() not in text.casefold()] or list(known)
    return fit[int(torch.randint(len(fit), (1,), generator=draw))]


def _matrix(host: ModelAdapter, path: str) -> Tensor:
    """(d_o, d_k) matrix of the module, in the precision of editing."""
    module = host.module(path, where="wise.module")
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise UsageError(
            f"'{path}' is no linear layer: it has no matrix to copy",
            where="wise.module",
            fix=f"leave module out, or name a linear layer such as {host.family.down_projection}",
        )
    return host.here(matrix_of(module)).to(host.edit_dtype)


_FIXED = {"bloom": "gelu_fast"}
"""Activation functions that stand in the model's code rather than in its configuration, by model type."""


def _activation_name(host: ModelAdapter) -> str:
    config = host.config
    if (fixed := _FIXED.get(config.model_type)) is not None:
        return fixed
    for key in ("hidden_act", "activation_function", "hidden_activation", "activation"):
        name = getattr(config, key, None)
        if isinstance(name, str) and name in ACT2FN:
            return name
    raise UsageError(
        "the model's configuration names no activation function that transformers knows",
        where=f"{type(config).__name__}, hidden_act or activation_function",
        fix="use another editor, or a configuration that names it",
    )
