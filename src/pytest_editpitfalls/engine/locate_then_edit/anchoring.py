"""NAS: value vectors of the norm that is usual in the unedited model (arXiv 2602.02543; SasyaTitech/NAS).

    v* = v_0 + delta,  v* <- v_0 where |v*| > nas_limit m,  otherwise v* <- m v* / |v*|,  delta <- v* - v_0

v_0 is what the down-projection of the last edited layer gives at the subject's last token, also where delta is learnt
at the block's output (MEMIT and its kin; NAS/compute_z.py). m is the mean |v*| of many facts, each learnt on the
unedited model with the bare prompt alone, without the longest twentieth (util/vstar_stats.py). The authors learn with
MEMIT's hyper-parameters, in batches of 16 that stop together, on 1,000 facts of CounterFact; here each fact is learnt
with the editor's own and stops by itself, and the facts are those of ``nas_facts`` or some that ship (`anchor_facts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditorResources
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback
from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError

from .anchor_facts import anchor_facts
from .edit_rows import EditRow, edit_rows
from .hyperparameters import LocateThenEditHyperparameters
from .sites import Site
from .subject_states import SubjectReader
from .target_vector import TargetVectors, TargetVectorSearch, VectorObjective

LONGEST = 0.05
"""The share of the norms that m leaves out."""

AT_ONCE = 64
"""Facts that are learnt together; how many makes no difference."""

TOO_LONG = "its value vector is far longer than is usual in this model (nas_limit)"


@dataclass(frozen=True)
class Anchor:
    """What NAS needs to know of one editor and model.

    Attributes:
        norm: m.
        record: how it came about, as plain JSON types.
    """

    resources: EditorResources
    objective: VectorObjective
    limit: float
    norm: float
    record: dict[str, Any]

    @classmethod
    def of(
        cls,
        hp: LocateThenEditHyperparameters,
        resources: EditorResources,
        objective: VectorObjective,
        progress: ProgressCallback,
    ) -> Anchor:
        """The norm that is given, or what facts have on the unedited model.

        Raises:
            UsageError: the file of facts cannot be read, or no fact in it can be learnt.
        """
        own = cls(resources, replace(objective, likeliest_steps=0), hp.nas_limit, hp.nas_norm or 0.0, {})
        if hp.nas_norm is not None:
            return replace(own, record={"norm": hp.nas_norm, "facts": 0})
        lengths = own._lengths(hp, progress)
        kept = lengths.sort().values[: len(lengths) - int(LONGEST * len(lengths))]
        norm = float(kept.mean())
        return replace(own, norm=norm, record={"norm": norm, "facts": len(lengths)})

    def moved(
        self, vectors: TargetVectors, overlay: Overlay, model_of: Sequence[int], rows: Sequence[EditRow]
    ) -> tuple[TargetVectors, tuple[int, ...]]:
        """The vectors with deltas as above, and the requests whose v* was too long.

        Args:
            overlay: the edited models that the requests are written into.
            model_of: (n,) index of each request's edited model.
        """
        own, factor = self._own_values(vectors, overlay, model_of, rows)
        value = own + vectors.delta[:, 0] / factor
        length = value.norm(dim=1, keepdim=True)
        too_long = length > self.limit * self.norm
        tiny = torch.finfo(length.dtype).tiny
        delta = vectors.delta.clone()
        delta[:, 0] = factor * (value * (self.norm / length.clamp_min(tiny)) - own)
        delta[too_long[:, 0], 0] = 0.0
        return replace(vectors, delta=delta), tuple(too_long[:, 0].nonzero()[:, 0].tolist())

    def _own_values(
        self, vectors: TargetVectors, overlay: Overlay, model_of: Sequence[int], rows: Sequence[EditRow]
    ) -> tuple[Tensor, float]:
        """(n, d_o) v_0, and what the block multiplies it by."""
        host, (site, *_) = self.resources.host, self.objective.sites
        if site is Site.MLP:
            return vectors.value[:, 0], 1.0
        reader = SubjectReader(
            self.resources.forward, model_of, rows, grouped=True, max_tokens=self.resources.max_tokens
        )
        return reader.state(overlay, Site.MLP, self.objective.layer), host.family.mlp_factor

    def _lengths(self, hp: LocateThenEditHyperparameters, progress: ProgressCallback) -> Tensor:
        """(facts,) |v*| of each fact on the unedited model, learnt with the bare prompt alone."""
        host, found = self.resources.host, list[Tensor]()
        overlay = Overlay(host, [()])
        requests = anchor_facts(hp.nas_facts)
        for start in range(0, len(requests), AT_ONCE):
            progress(Progress("usual norm of value vectors", start, len(requests)))
            rows: list[EditRow] = []
            count = 0
            for request in requests[start : start + AT_ONCE]:
                try:
                    rows += edit_rows(host.encoder, count, request, ["{}"])
                except (CaseError, UnscorableCase):
                    continue  # another tokenizer knows the subject or the object
                count += 1
            if count == 0:
                continue
            models = [0] * count
            vectors = TargetVectorSearch(
                self.resources.forward, overlay, models, rows, self.objective, max_tokens=self.resources.max_tokens
            ).run()
            own, factor = self._own_values(vectors, overlay, models, rows)
            found.append((own + vectors.delta[:, 0] / factor).norm(dim=1))
        lengths = torch.cat(found) if found else torch.empty(0)
        if len(lengths) == 0 or not bool(lengths.isfinite().all()):
            raise UsageError(
                "NAS cannot measure how long value vectors usually are: "
                + ("no fact can be learnt" if len(lengths) == 0 else "they are not finite"),
                where=str(hp.nas_facts or "the facts that ship"),
                fix="give the norm: --pitfalls-set EDITOR.nas_norm=VALUE",
            )
        return lengths
