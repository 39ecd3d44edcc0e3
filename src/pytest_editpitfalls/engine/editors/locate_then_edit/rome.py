"""ROME: a rank-one update of one down-projection (Meng et al. 2022, arXiv 2202.05262; kmeng01/rome).

    u = C^-1 k_mean / |C^-1 k_mean|        k_mean: key averaged over the context templates
    Delta = (v_0 + delta - v_bare) u^T / (u^T k_bare)

The norm of u cancels; the mixture of k_mean (in u) and k_bare (in the divisor) does not: a tiny divisor makes a huge,
model-breaking update (field notes 2). It is reported with the case.

Where the target vector lives: at the output of the down-projection. In families with a norm after the MLP (Gemma 2,
Gemma 3, post-norm OPT) it sits before that norm, which is replayed in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pytest_editpitfalls.engine.editors.base import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.hyperparameters.locate_then_edit import RomeHyperparameters
from pytest_editpitfalls.engine.overlay import EditedModel, LowRankDelta, Overlay
from pytest_editpitfalls.engine.sampling import context_templates
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.statistics import MomentSource
from pytest_editpitfalls.errors import CaseError, UnscorableCase

from .edit_rows import EditRow, edit_rows
from .target_vector import TargetVectors, TargetVectorSearch, VectorObjective

SMALL_DIVISOR = 0.1
"""Cosine between C^-1 k_mean and k_bare, relative to that with k_mean, under which a case is marked."""


class Rome:
    """The batched editor. See the module's docstring for the equations.

    Args:
        hyperparameters: validated values.
        resources: model, second moments and settings.
    """

    name = "rome"

    def __init__(self, hyperparameters: RomeHyperparameters, resources: EditorResources) -> None:
        self._hp = hyperparameters
        self._resources = resources
        self._host = resources.host
        self._layer = hyperparameters.layers[0]
        self._templates: list[str] | None = None
        self._moment_record: dict[str, Any] | None = None

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Context templates and the second moment."""
        if self._templates is None:
            self._templates = list(self._hp.context_templates or ()) or context_templates(
                self._host,
                [(length, count) for length, count in self._hp.context_template_length_params],
                seed=self._resources.settings.seed,
            )
        if self._hp.mom2_adjustment and self._moment_record is None:
            moment = self._resources.second_moments.get(self._source(), [self._layer], progress)[self._layer]
            self._moment_record = moment.record

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests one after another, as released: a later one is computed under the earlier."""
        self.prepare(progress)
        results = [EditResult(job.model) for job in jobs]
        for turn in range(max((len(job.requests) for job in jobs), default=0)):
            open_jobs = [
                i for i, job in enumerate(jobs) if turn < len(job.requests) and results[i].error is None
            ]
            self._turn(turn, open_jobs, jobs, results, progress)
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, templates and second moment as used."""
        return {
            "editor": self.name,
            "hyperparameters": self._hp.model_dump(mode="json"),
            "context_templates": self._templates,
            "second_moment": self._moment_record,
        }

    def _turn(
        self,
        turn: int,
        chosen: list[int],
        jobs: Sequence[EditJob],
        results: list[EditResult],
        progress: ProgressCallback,
    ) -> None:
        rows: list[EditRow] = []
        kept: list[int] = []
        models: list[EditedModel] = []
        for index in chosen:
            try:
                rows += edit_rows(
                    self._host.encoder, len(kept), jobs[index].requests[turn], self._templates or ["{}"]
                )
            except (CaseError, UnscorableCase) as error:
                results[index] = EditResult(error=f"edit {jobs[index].step}: {error}")
                continue
            kept.append(index)
            models.append(results[index].model)
        if not kept:
            return
        hp = self._hp
        search = TargetVectorSearch(
            self._resources.forward,
            Overlay(self._host, models),
            range(len(kept)),
            rows,
            VectorObjective(
                self._layer,
                hp.v_num_grad_steps,
                hp.v_lr,
                hp.v_weight_decay,
                hp.clamp_norm_factor,
                hp.kl_factor,
            ),
            max_tokens=self._resources.max_tokens,
        )
        total = hp.v_num_grad_steps - 1
        vectors = search.run(lambda step: progress(Progress("edit", step + 1, total)))
        update, divisor = self._solve(vectors)
        for place, index in enumerate(kept):
            delta = LowRankDelta(self._host.down_projection_path(self._layer), *update[place])
            results[index] = _result(results[index], jobs[index], delta, float(divisor[place]))

    def _solve(self, vectors: TargetVectors) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Left and right vectors (d_o, 1), (d_k, 1) of each request, and the divisor relative to the mean key's."""
        right = vectors.mean_key.double()
        if self._hp.mom2_adjustment:
            moment = self._resources.second_moments.get(self._source(), [self._layer])[self._layer]
            right = moment.solve(vectors.mean_key)
        right = right / right.norm(dim=1, keepdim=True)
        divisor = (right * vectors.bare_key).sum(dim=1)
        own = (right * vectors.mean_key).sum(dim=1)
        # v_0 is the bare row's value of this very model, so v_0 + delta - v_bare is delta.
        left = vectors.delta.double() / divisor[:, None]
        dtype = self._host.edit_dtype
        pairs = [(u.to(dtype)[:, None], v.to(dtype)[:, None]) for u, v in zip(left, right, strict=True)]
        return pairs, divisor / own

    def _source(self) -> MomentSource:
        return moment_source(self._hp, self._resources.settings.seed)


def _result(before: EditResult, job: EditJob, delta: LowRankDelta, divisor: float) -> EditResult:
    if not delta.is_finite():
        return EditResult(error=f"edit {job.step}: the update is not finite (NaN or infinity)")
    notes = before.notes
    if abs(divisor) < SMALL_DIVISOR:
        notes += (
            f"tiny divisor at edit {job.step}: u.k_bare is {divisor:.3g} of u.k_mean, the update is "
            f"{1 / max(abs(divisor), 1e-30):.3g} times too large (keys of prefixed and bare prompt differ)",
        )
    return EditResult((*before.model, delta), notes=notes)


def moment_source(hp: RomeHyperparameters, seed: int) -> MomentSource:
    """Which text the hyper-parameters ask for: an explicit file first, then a published matrix, then a data set."""
    if hp.mom2_corpus:
        return MomentSource("text", str(hp.mom2_corpus), ridge=hp.mom2_ridge)
    if hp.mom2_npz:
        return MomentSource("npz", str(hp.mom2_npz), ridge=hp.mom2_ridge)
    if hp.mom2_dataset:
        return MomentSource("datasets", hp.mom2_dataset, samples=hp.mom2_n_samples, ridge=hp.mom2_ridge)
    return MomentSource("sampled", tokens=hp.mom2_tokens, ridge=hp.mom2_ridge, seed=seed)
