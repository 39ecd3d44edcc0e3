"""SimIE: an editor's updates recast for a chain (Guo et al. 2025, ICML; YamingGuo98/SimIE, easyeditor/models/simie).

Step t of a case: the editor that it is put on turns W_{t-1} into W^. The columns of K are the inputs of the matrix at
all tokens of the step's prompts and targets, read before that edit. What is kept is

    W_t = W_{t-1} + (W^ - W_{t-1}) K K^T P_t^-1,    P_t = lamHyper I + sum over all steps so far of K K^T

the recursive form of the least-squares matrix that does on every step's inputs what that step's own edit did. The
update has the rank of K: (W^ - W_{t-1}) K on the left and P_t^-1 K on the right. P_t^-1 K comes from the keys kept so
far (`KnownKeys`), without a matrix of their products while they are few.

With ``init_model`` inputs and W^ are of the unedited model instead; W_{t-1} is what the steps before left, as released.

Where the release differs: it solves in float32, and begins by editing the last request once and undoing it, only to see
which matrices are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.editing.interface import EditJob, Editor, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.job_gradients import job_rows
from pytest_editpitfalls.engine.locate_then_edit.known_keys import KnownKeys
from pytest_editpitfalls.engine.matrices import matrix_shape
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta, Overlay, not_finite
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.engine.token_states import token_states
from pytest_editpitfalls.errors import UsageError

from .hyperparameters import SimieHyperparameters


@keepable
@dataclass(frozen=True)
class SimieState:
    """What a case keeps.

    Attributes:
        inner: what the editor that it is put on keeps.
        known: lamHyper I + sum K K^T, by module.
    """

    inner: Any
    known: dict[str, KnownKeys]


class Simie(ShippedEditor[SimieHyperparameters]):
    """The batched editor. See the module's docstring for the equations.

    Raises:
        UsageError: the editor that it is put on cannot edit the model, or ``hparams`` are not its own.
    """

    name = "simie"

    def __init__(self, hyperparameters: SimieHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._inner = self._made()
        written = self._inner.weights()  # type: ignore[attr-defined]
        self._modules: tuple[str, ...] = tuple(written)

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """What the editor that it is put on prepares."""
        self._inner.prepare(progress)

    def weights(self) -> tuple[str, ...]:
        """What the editor that it is put on may change."""
        return self._modules

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests with the other editor, and recast its updates."""
        from_base = self._hp.init_model
        states = [job.state or SimieState(None, {}) for job in jobs]
        results = [EditResult(job.model, job.state) for job in jobs]
        starts = [() if from_base else job.model for job in jobs]
        keys = self._keys(jobs, starts, results)
        inner = [
            replace(job, model=start, state=state.inner) for job, start, state in zip(jobs, starts, states, strict=True)
        ]
        written = self._inner.edit(inner, progress)
        for index, (job, state, found) in enumerate(zip(jobs, states, written, strict=True)):
            if results[index].error is None:
                new = found.model[len(starts[index]) :]
                results[index] = (
                    self._recast(job, state, found, new, keys[index])
                    if found.error is None
                    else EditResult(error=found.error)
                )
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, and what the editor says that it is put on."""
        return super().describe() | {"put_on": self._inner.describe()}

    def _made(self) -> Editor:
        method, settings = self._hp.editing_method, self._resources.settings
        declaration = EDITORS.get(method)
        try:
            values = resolve_hyperparameters(
                method,
                declaration.hyperparameter_class(),
                settings.model,
                self._host.n_layers,
                self._hp.hparams,
                config_path=settings.config_path,
            )
            return declaration.make(values, self._resources)
        except UsageError as error:
            raise UsageError(error.what, where=f"simie.hparams, for {method}", fix=error.fix) from None

    def _keys(
        self, jobs: Sequence[EditJob], starts: Sequence[EditedModel], results: list[EditResult]
    ) -> list[dict[str, Tensor]]:
        """(tokens, d_k) by module for each job, float64; the tokens of its requests one behind another."""
        rows = job_rows(self._host.encoder, jobs, results)
        tokens = [row.tokens.prompt + row.tokens.target for row in rows]
        found = token_states(
            self._resources.forward,
            Overlay(self._host, starts),
            [row.job for row in rows],
            tokens,
            inputs=self._modules,
            max_tokens=self._resources.max_tokens,
        )
        keys: list[dict[str, Tensor]] = [{} for _ in jobs]
        for row, inputs in zip(rows, found, strict=True):
            for module, values in inputs.items():
                own = keys[row.job]
                own[module] = torch.cat([own[module], values.double()]) if module in own else values.double()
        return keys

    @torch.no_grad()
    def _recast(
        self, job: EditJob, state: SimieState, found: EditResult, new: EditedModel, keys: dict[str, Tensor]
    ) -> EditResult:
        deltas: list[LowRankDelta] = []
        known = dict(state.known)
        dtype = self._host.edit_dtype
        for module, own in keys.items():
            width, _ = matrix_shape(self._host.module(module))
            change = applied(new, module, own, width)
            if self._hp.init_model:
                change = change - applied(job.model, module, own, width)
            before = known.get(module)
            known[module] = KnownKeys.of(own, self._hp.lamHyper) if before is None else before.with_keys(own)
            right = known[module].weighted(own)
            deltas.append(LowRankDelta(module, change.T.to(dtype).contiguous(), right.T.to(dtype).contiguous()))
        if (wrong := not_finite(tuple(deltas))) is not None:
            return EditResult(error=f"edit {job.step}: {wrong}")
        return EditResult((*job.model, *deltas), SimieState(found.state, known), found.notes)


def applied(model: EditedModel, module: str, keys: Tensor, width: int) -> Tensor:
    """(n, width) what the model's changes of one matrix add to its outputs for inputs ``keys`` (n, d_k); float64."""
    total = keys.new_zeros(len(keys), width)
    for change in model:
        if getattr(change, "module", None) != module:
            continue
        if isinstance(change, LowRankDelta):
            total += keys @ change.v.double() @ change.u.double().T
        else:
            assert isinstance(change, DenseDelta)  # a long chain's deltas, folded
            total += keys @ change.weight.double().T
    return total
