"""What all locate-then-edit editors do: learn target vectors for a batch of requests, read keys, solve, and answer.

An editor of the family states only how it differs: its sites, its mean over context templates, and how it turns target
vectors into low-rank updates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LocateThenEditHyperparameters
from pytest_editpitfalls.engine.moments import SecondMoment
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta, Overlay, not_finite
from pytest_editpitfalls.engine.sampling import context_templates
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError
from pytest_editpitfalls.program import EditRequest

from .anchoring import TOO_LONG, Anchor
from .edit_rows import EditRow, edit_rows
from .sites import Site
from .target_vector import TargetVectors, TargetVectorSearch, VectorObjective

H = TypeVar("H", bound=LocateThenEditHyperparameters)


@dataclass(frozen=True)
class Batch:
    """Requests of independent jobs, learnt together.

    Attributes:
        jobs: (m,) the jobs.
        before: (m,) each job's answer so far: the edited model that is written into, state and notes.
        owner: (n,) the job that each request belongs to; its requests stand side by side.
        rows: all rows of all requests; `EditRow.job` is the number of the request.
    """

    jobs: list[EditJob]
    before: list[EditResult]
    owner: list[int]
    rows: list[EditRow]

    def of_job(self, values: Tensor) -> list[Tensor]:
        """(n, ...) values of requests, cut into one tensor for each job."""
        return list(values.split([self.owner.count(index) for index in range(len(self.jobs))]))


@dataclass
class Written:
    """What was written for one job: updates in their order, what the editor keeps, remarks."""

    deltas: tuple[LowRankDelta | DenseDelta, ...] = ()
    state: Any = None
    notes: tuple[str, ...] = ()


class LocateThenEdit(ShippedEditor[H], ABC):
    """A batched editor of the family.

    Raises `UsageError` where the model has a norm after its MLP and the editor cannot map residuals through it.

    Attributes:
        sites: where its target vectors are added, in the last edited layer.
        together: whether the requests of one step are solved for together, or written one after another.
        seed_words: what sampled context templates begin with, in turn; without any, as ROME's do.
    """

    sites: ClassVar[tuple[Site, ...]] = (Site.BLOCK,)
    together: ClassVar[bool] = True
    seed_words: ClassVar[tuple[str, ...]] = ()

    def __init__(self, hyperparameters: H, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._layers = hyperparameters.layers
        self._templates: list[str] | None = None
        self._moments: dict[int, SecondMoment] = {}
        self._anchor: Anchor | None = None
        if Site.BLOCK in self.sites and self._host.family.norm_after_mlp:
            raise UsageError(
                f"{self.name} cannot edit a model with a norm after the MLP (family "
                f"'{self._host.family.name}'): its residuals are measured behind that norm",
                where=f"--editor={self.name}",
                fix="use rome, r-rome or pmet, whose target vectors live before the norm",
            )

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Context templates and second moments."""
        if self._templates is None:
            self._templates = list(self._hp.context_templates or ()) or context_templates(
                self._host,
                self._hp.context_template_length_params,
                seed=self._resources.settings.seed,
                begin=[self._host.encoder.prompt(word) for word in self.seed_words],
            )
        if self._hp.mom2_adjustment and not self._moments:
            source = moment_source(self._hp, self._resources.settings.seed)
            self._moments = self._resources.second_moments.get(source, self._layers, progress)
        if self._hp.nas and self._anchor is None:
            self._anchor = Anchor.of(self._hp, self._resources, self._objective(), progress)

    def weights(self) -> tuple[str, ...]:
        """The down-projections of its layers."""
        return tuple(map(self._host.down_projection_path, self._layers))

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests; a later request of a job is computed under the earlier where one by one."""
        self.prepare(progress)
        results = [EditResult(job.model, job.state) for job in jobs]
        for turn in self._turns(jobs):
            self._turn([each for each in turn if results[each[0]].error is None], jobs, results, progress)
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, templates, second moments and NAS's norm as used."""
        anchor = {} if self._anchor is None else {"nas": self._anchor.record}
        return super().describe() | {
            "context_templates": self._templates,
            "second_moment": _record(list(self._moments.values())),
            **anchor,
        }

    @abstractmethod
    def _write(self, batch: Batch, vectors: TargetVectors) -> list[Written]:
        """The updates of each job of the batch."""

    def _objective(self) -> VectorObjective:
        hp = self._hp
        return VectorObjective(
            layer=self._layers[-1],
            v_num_grad_steps=hp.v_num_grad_steps,
            v_lr=hp.v_lr,
            v_weight_decay=hp.v_weight_decay,
            clamp_norm_factor=hp.clamp_norm_factor,
            kl_factor=hp.kl_factor,
            sites=self.sites,
            likeliest_steps=-hp.prob_cutoff,
        )

    def _delta(self, layer: int, u: Tensor, v: Tensor) -> LowRankDelta:
        """U (d_o, rank) and V (d_k, rank) as an update of the down-projection, in the precision of editing."""
        dtype = self._host.edit_dtype
        return LowRankDelta(self._host.down_projection_path(layer), u.to(dtype).contiguous(), v.to(dtype).contiguous())

    def _turns(self, jobs: Sequence[EditJob]) -> Iterator[list[tuple[int, tuple[EditRequest, ...]]]]:
        """(job, requests) of everything that is computed at the same time, round by round."""
        if self.together:
            yield [(index, job.requests) for index, job in enumerate(jobs) if job.requests]
            return
        for turn in range(max((len(job.requests) for job in jobs), default=0)):
            yield [(i, job.requests[turn : turn + 1]) for i, job in enumerate(jobs) if turn < len(job.requests)]

    def _turn(
        self,
        turn: list[tuple[int, tuple[EditRequest, ...]]],
        jobs: Sequence[EditJob],
        results: list[EditResult],
        progress: ProgressCallback,
    ) -> None:
        owner: list[int] = []
        rows: list[EditRow] = []
        kept: list[int] = []
        for index, requests in turn:
            try:
                own: list[EditRow] = []
                for number, request in enumerate(requests, start=len(owner)):
                    own += edit_rows(self._host.encoder, number, request, self._templates or ["{}"])
            except (CaseError, UnscorableCase) as error:
                results[index] = EditResult(error=f"edit {jobs[index].step}: {error}")
                continue
            rows += own
            owner += [len(kept)] * len(requests)
            kept.append(index)
        if not kept:
            return
        before = [results[index] for index in kept]
        forward, max_tokens = self._resources.forward, self._resources.max_tokens
        overlay = self._overlay(before)
        search = TargetVectorSearch(forward, overlay, owner, rows, self._objective(), max_tokens=max_tokens)
        total = self._hp.v_num_grad_steps - 1
        vectors = search.run(lambda step: progress(Progress("edit", step + 1, total)))
        del search  # its kept prefixes are no longer needed
        left_out: tuple[int, ...] = ()
        if self._anchor is not None:
            vectors, left_out = self._anchor.moved(vectors, overlay, owner, rows)
        batch = Batch([jobs[index] for index in kept], before, owner, rows)
        for place, (job, written) in enumerate(zip(batch.jobs, self._write(batch, vectors), strict=True)):
            result = _joined(results[kept[place]], job, written)
            if result.error is None and any(owner[request] == place for request in left_out):
                result = replace(result, notes=(*result.notes, f"NAS left edit {job.step} out: {TOO_LONG}"))
            results[kept[place]] = result

    def _overlay(self, before: Sequence[EditResult], *written: Sequence[LowRankDelta | DenseDelta]) -> Overlay:
        """The jobs' edited models with what has been written since, layer by layer."""
        models: list[EditedModel] = [
            (*result.model, *(deltas[index] for deltas in written)) for index, result in enumerate(before)
        ]
        return Overlay(self._host, models)


def _record(moments: Sequence[SecondMoment]) -> dict[str, Any] | None:
    """How C came about: of one layer as it is, of several what they share and what is each layer's own."""
    if len(moments) < 2:
        return moments[0].record if moments else None
    shared = ("source", "tokens", "ridge")
    return {
        **{key: moments[0].record[key] for key in shared},
        "layers": [{key: value for key, value in each.record.items() if key not in shared} for each in moments],
    }


def _joined(before: EditResult, job: EditJob, written: Written) -> EditResult:
    if (wrong := not_finite(tuple(written.deltas))) is not None:
        return EditResult(error=f"edit {job.step}: {wrong}")
    return EditResult((*before.model, *written.deltas), written.state, (*before.notes, *written.notes))


def moment_source(hp: LocateThenEditHyperparameters, seed: int) -> MomentSource:
    """Which text the hyper-parameters ask for: an explicit file first, then a published matrix, then a data set."""
    if hp.mom2_corpus:
        return MomentSource("text", str(hp.mom2_corpus), ridge=hp.mom2_ridge)
    if hp.mom2_npz:
        return MomentSource("npz", str(hp.mom2_npz), ridge=hp.mom2_ridge)
    if hp.mom2_dataset:
        return MomentSource("datasets", hp.mom2_dataset, samples=hp.mom2_n_samples, ridge=hp.mom2_ridge)
    return MomentSource("sampled", tokens=hp.mom2_tokens, ridge=hp.mom2_ridge, seed=seed)
