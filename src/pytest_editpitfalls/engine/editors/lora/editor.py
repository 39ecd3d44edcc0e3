"""LoRA: low-rank adapters trained on the edit (Hu et al. 2021, arXiv 2106.09685; zjunlp/EasyEdit, models/lora).

    y = W x + (lora_alpha / rank) B A dropout(x)        A: (rank, d_k) random, B: (d_o, rank) zero

The loss is the cross-entropy of the target tokens, each given prompt and preceding target; Adam, no early stop.
Requests of one step are trained together and their losses, each a mean over its tokens, are averaged. A case's next
edit goes on training the same adapter, with a fresh Adam; the edited model holds the adapter once.

EasyEdit mostly says AdaLoRA but never calls its rank allocator, so that the rank stays: plain LoRA here, with peft's
start of plain LoRA (A uniform within 1/sqrt(d_k)). Dropout is active, as in a fresh peft adapter.

Any family: an adapter changes the output of the module itself, whatever norm follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.fine_tuning.training_loop import Batch, Schedule, TrainingRow, train_jobs
from pytest_editpitfalls.engine.matrices import is_transposed, matrix_shape
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import EditedModel, ForwardHook, LowRankDelta, Overlay, low_rank_hook
from pytest_editpitfalls.engine.settings import ProgressCallback, as_part, silent
from pytest_editpitfalls.errors import UsageError, did_you_mean

from .hyperparameters import LoraHyperparameters

JOBS_TOGETHER = 64
"""Adapters that are trained at once: with gradients and moments each costs four times its size."""


@keepable
@dataclass(frozen=True)
class Adapter:
    """What a case keeps for its next edit.

    Attributes:
        a: (rank, d_k) of each adapted module.
        b: (d_o, rank) of each adapted module.
        rest: the model that the adapter stands in, without it: what is in the edited model may have been added up.
    """

    a: tuple[Tensor, ...]
    b: tuple[Tensor, ...]
    rest: EditedModel


class Lora(ShippedEditor[LoraHyperparameters]):
    """The batched editor. See the module's docstring.

    Everything random is drawn from SHA-256 of (seed, case, ...): a case's numbers do not depend on its neighbours.

    Raises:
        UsageError: a block has no linear module of one of the names in ``target_modules``.
    """

    name = "lora"

    def __init__(self, hyperparameters: LoraHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        layers = hyperparameters.layers or range(self._host.n_layers)
        names = hyperparameters.target_modules
        self._modules = [path for layer in layers for path in target_modules(self._host, layer, names)]
        self._lowest = min(layers)

    def weights(self) -> tuple[str, ...]:
        """The adapted modules."""
        return tuple(self._modules)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Train each job's adapter; a job whose loss is not finite is an error of its own."""
        results: list[EditResult] = []
        for start in range(0, len(jobs), JOBS_TOGETHER):
            part = jobs[start : start + JOBS_TOGETHER]
            results += self._edit_together(part, as_part(progress, start, len(part), len(jobs)))
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, adapted modules, and where random numbers come from."""
        record = super().describe() | {
            "modules": list(self._modules),
            "seed": self._resources.settings.seed,
            "random": "A and dropout are drawn per case, seeded by SHA-256 of seed and case id",
        }
        if self._hp.lora_type == "adalora":
            record["note"] = "adalora is run as plain LoRA: the released code never calls its rank allocator"
        return record

    def _edit_together(self, jobs: Sequence[EditJob], progress: ProgressCallback) -> list[EditResult]:
        hp, seed = self._hp, self._resources.settings.seed
        return train_jobs(
            self._resources,
            jobs,
            "target_new",
            Schedule(hp.num_steps, hp.lr, hp.weight_decay),
            lambda good, rows: _StackedAdapters(self._host, self._modules, self._lowest, hp, seed, good, rows),
            lambda adapters, place, _: adapters.result(place),
            progress,
        )


def target_modules(host: ModelAdapter, layer: int, names: Sequence[str]) -> list[str]:
    """Full names of one block's linear modules that end in one of ``names``, in the model's order.

    Args:
        layer: number of the block.
        names: last parts of names ("q_proj", "attn.c_proj"); none means attention output and down-projection, which a
            mixture of experts has not.

    Raises:
        UsageError: a name is no linear module of the block.
    """
    family = host.family
    block = f"{family.blocks}.{layer}"
    linear = [
        name
        for name, module in host.module(block).named_modules()
        if isinstance(module, nn.Linear) or is_transposed(module)
    ]
    chosen = set()
    for wanted in names or filter(None, (family.attention_output, family.down_projection)):
        found = [name for name in linear if f".{name}".endswith(f".{wanted}")]
        if not found:
            last_parts = sorted({name.rpartition(".")[2] for name in linear})
            raise UsageError(
                f"block {layer} of {type(host.model).__name__} has no linear module '{wanted}'",
                where="lora.target_modules",
                fix=did_you_mean(wanted, last_parts),
            )
        chosen.update(found)
    return [f"{block}.{name}" for name in linear if name in chosen]


class _StackedAdapters:
    """Adapters of all jobs: per module one A (jobs, rank, d_k) and one B (jobs, d_o, rank)."""

    def __init__(
        self,
        host: ModelAdapter,
        modules: Sequence[str],
        lowest: int,
        hp: LoraHyperparameters,
        seed: int,
        jobs: Sequence[EditJob],
        rows: Sequence[TrainingRow],
    ) -> None:
        self._host, self._modules, self._lowest = host, modules, lowest
        self._scale, self._drop = hp.lora_alpha / hp.rank, hp.lora_dropout
        old = [job.state if isinstance(job.state, Adapter) else None for job in jobs]
        # The adapter goes on from where it stands, so what it already changes must not be there twice.
        self.rest = [job.model if state is None else state.rest for job, state in zip(jobs, old, strict=True)]
        self._overlay = Overlay(host, self.rest)
        starts = [
            (state.a, state.b)
            if state is not None
            else _start(host, modules, hp.rank, _generator("cpu", seed, job.case_id))
            for job, state in zip(jobs, old, strict=True)
        ]
        self._a, self._b = (
            [torch.stack(each).to(host.device, host.edit_dtype).requires_grad_() for each in zip(*side, strict=True)]
            for side in zip(*starts, strict=True)
        )
        self._noise = {
            (row.job, row.number): _generator(
                host.device, seed, jobs[row.job].case_id, "dropout", jobs[row.job].step, row.number
            )
            for row in rows
        }

    def parameters(self) -> list[Tensor]:
        return [*self._a, *self._b]

    def lowest_layer(self) -> int:
        return min(self._lowest, self._overlay.lowest_layer(default=self._lowest))

    @contextmanager
    def applied(self, batch: Batch) -> Iterator[None]:
        keep = self._keep(batch) if self._drop else None
        scale = self._scale / (1 - self._drop)
        with ExitStack() as stack:
            stack.enter_context(self._overlay.rows(batch.job, batch.lengths))
            column = 0
            for name, a, b in zip(self._modules, self._a, self._b, strict=True):
                hook = low_rank_hook(scale * b[batch.job], a[batch.job].transpose(1, 2))
                if keep is not None:
                    hook = _behind_dropout(hook, keep[:, :, column : column + a.shape[2]])
                column += a.shape[2]
                handle = self._host.module(name).register_forward_hook(self._host.hook(hook))
                stack.callback(handle.remove)
            yield

    def before_step(self, stopped: set[int]) -> None:
        """Nothing stops but what has failed; slices of a stack do not meet."""

    def after_step(self) -> None:
        """Nothing is projected."""

    def result(self, job: int) -> EditResult:
        """The edited model of one job, whose adapter is in memory of its own."""
        a = tuple(each[job].detach().clone() for each in self._a)
        b = tuple(each[job].detach().clone() for each in self._b)
        deltas = tuple(
            LowRankDelta(name, self._scale * up, down.T) for name, down, up in zip(self._modules, a, b, strict=True)
        )
        return EditResult((*self.rest[job], *deltas), Adapter(a, b, self.rest[job]))

    def _keep(self, batch: Batch) -> Tensor:
        """(rows, tokens, all modules' inputs) what dropout leaves; drawn per row, so that padding changes nothing."""
        width = sum(a.shape[2] for a in self._a)
        keep = torch.ones(*batch.rows.ids.shape, width, dtype=torch.bool, device=self._host.device)
        for place, row in enumerate(batch.source):
            generator = self._noise[row.job, row.number]
            shape = (len(row.tokens), width)
            keep[place, : shape[0]] = torch.rand(shape, generator=generator, device=keep.device) >= self._drop
        return keep


def _behind_dropout(hook: ForwardHook, keep: Tensor) -> ForwardHook:
    """``hook`` on an input of which only ``keep`` (rows, tokens, d_k) is left; the hook has the scale."""

    def add(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        x = args[0]
        return hook(module, (x * keep.reshape(x.shape), *args[1:]), output)

    return add


def _start(
    host: ModelAdapter, modules: Sequence[str], rank: int, generator: torch.Generator
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """peft's start: A uniform within 1/sqrt(d_k), B zero; drawn in float32 on the CPU, the same on any device."""
    a, b = [], []
    for name in modules:
        module: Any = host.module(name)
        d_o, d_k = matrix_shape(module)
        a.append((torch.rand(rank, d_k, generator=generator) * 2 - 1) / d_k**0.5)
        b.append(torch.zeros(d_o, rank))
    return tuple(a), tuple(b)


def _generator(device: torch.device | str, *words: object) -> torch.Generator:
    digest = hashlib.sha256(repr(words).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
