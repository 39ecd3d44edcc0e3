"""AnyEdit on MEMIT: a long target in windows (Jiang et al. 2025, arXiv 2502.05628; jianghoucheng/AnyEdit, memit_ARE).

The target's tokens are cut into windows of ``window_size``. Window by window a vector delta_c is learnt that makes the
window's tokens likely, added to the output of the last edited block at the token before the window, with the vectors of
the earlier windows on at theirs:

    L_c = -(1/T) sum_t log p(t_t) + v_weight_decay |delta_c| / |v_c|^2,    |delta_c| <= clamp_norm_factor |v_c|

v_c is that output without delta_c; no context templates, no KL term, stopped below a loss of 0.01, and the last
iteration never steps. Then all vectors are written as MEMIT writes, layer by layer:

    R = (v_c + delta_c - h_c) / layers left,    Delta = R [(lambda C + K_p K_p^T + K K^T)^-1 K]^T

K has the down-projection's inputs at the tokens before the windows, K_p those at all other tokens of prompts and
targets, h_c the last edited block's output now. All requests of a step are solved for together.

Where the release differs: of several texts it takes the padding's inputs into K_p as well; here only real tokens count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.job_gradients import JobRow, job_rows
from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import LayerByLayer, closed_form
from pytest_editpitfalls.engine.locate_then_edit.target_vector import TargetVectorSearch, VectorObjective
from pytest_editpitfalls.engine.overlay import LowRankDelta, Overlay, not_finite
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.token_states import token_states

from .hyperparameters import AnyEditHyperparameters
from .windows import AddedAt, window_row, windows_of

STOP_LOSS = 1e-2


class AnyEdit(LayerByLayer[AnyEditHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "anyedit"

    def __init__(self, hyperparameters: AnyEditHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._templates = ["{}"]  # none are sampled
        self._block = f"{self._host.family.blocks}.{self._layers[-1]}"

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests together."""
        self.prepare(progress)
        results = [EditResult(job.model, job.state) for job in jobs]
        rows = job_rows(self._host.encoder, jobs, results)
        if rows:
            columns, targets = self._learnt(jobs, rows, progress)
            for job, deltas in self._solved(jobs, rows, columns, targets).items():
                wrong = not_finite(tuple(deltas))
                results[job] = (
                    EditResult((*jobs[job].model, *deltas), jobs[job].state)
                    if wrong is None
                    else EditResult(error=f"edit {jobs[job].step}: {wrong}")
                )
        return results

    def _objective(self) -> VectorObjective:
        return replace(super()._objective(), stop_loss=STOP_LOSS)

    def _learnt(
        self, jobs: Sequence[EditJob], rows: Sequence[JobRow], progress: ProgressCallback
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each row the columns before its windows, and v_c + delta_c there (windows, hidden size)."""
        hp, device = self._hp, self._host.device
        windows = [windows_of(len(row.tokens.target), hp.window_size, hp.overlap) for row in rows]
        columns = [
            torch.tensor([len(row.tokens.prompt) + start - 1 for start, _ in own], device=device)
            for row, own in zip(rows, windows, strict=True)
        ]
        deltas: list[list[Tensor]] = [[] for _ in rows]
        targets: list[list[Tensor]] = [[] for _ in rows]
        turns = max(map(len, windows))
        for turn in range(turns):
            open_rows = [place for place, own in enumerate(windows) if turn < len(own)]
            models = []
            for place in open_rows:
                earlier = torch.stack(deltas[place]) if turn else torch.empty(0, 0, device=device)
                added = AddedAt(self._block, columns[place][:turn], earlier)
                models.append((*jobs[rows[place].job].model, *((added,) if turn else ())))
            search = TargetVectorSearch(
                self._resources.forward,
                Overlay(self._host, models),
                range(len(open_rows)),
                [window_row(at, rows[place].tokens, windows[place][turn]) for at, place in enumerate(open_rows)],
                self._objective(),
                max_tokens=self._resources.max_tokens,
            )
            steps, done = hp.v_num_grad_steps - 1, turn
            vectors = search.run(
                lambda step, done=done, steps=steps: progress(  # type: ignore[misc]
                    Progress("edit", done * steps + step + 1, turns * steps)
                )
            )
            for at, place in enumerate(open_rows):
                deltas[place].append(vectors.delta[at, 0])
                targets[place].append(vectors.target()[at])
        return columns, [torch.stack(own) for own in targets]

    @torch.no_grad()
    def _solved(
        self, jobs: Sequence[EditJob], rows: Sequence[JobRow], columns: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> dict[int, list[LowRankDelta]]:
        """The updates of each job that has rows, layer by layer."""
        tokens = [row.tokens.prompt + row.tokens.target for row in rows]
        written: dict[int, list[LowRankDelta]] = {row.job: [] for row in rows}
        for index, layer in enumerate(self._layers):
            name = self._host.down_projection_path(layer)
            states = token_states(
                self._resources.forward,
                Overlay(self._host, [(*job.model, *written.get(place, ())) for place, job in enumerate(jobs)]),
                [row.job for row in rows],
                tokens,
                inputs=[name],
                outputs=[self._block],
                last=self._layers[-1] + 1,
                max_tokens=self._resources.max_tokens,
            )
            share = self._share(len(self._layers) - index) / self._host.family.mlp_factor
            for job, deltas in written.items():
                keys, others, residuals = [], [], []
                for row, own, at, wanted in zip(rows, states, columns, targets, strict=True):
                    if row.job != job:
                        continue
                    chosen = torch.zeros(len(own[name]), dtype=torch.bool, device=at.device)
                    chosen[at] = True
                    keys.append(own[name][at])
                    others.append(own[name][~chosen])
                    residuals.append((wanted - own[self._block][at]).double() * share)
                weighted = self._weighted_by(layer, torch.cat(keys).double(), torch.cat(others).double())
                u, v = closed_form(torch.cat(residuals), torch.cat(keys), weighted, self._gamma(len(weighted)))
                deltas.append(self._delta(layer, u, v))
        return written

    def _weighted_by(self, layer: int, keys: Tensor, others: Tensor) -> Tensor:
        """(n, d_k) rows of (lambda C + K_p K_p^T)^-1 K, from keys (n, d_k) and other tokens' (m, d_k)."""
        both = self._moments[layer].solve(torch.cat([keys, others])) / self._hp.mom2_update_weight
        first, second = both.split([len(keys), len(others)])
        identity = torch.eye(len(others), dtype=both.dtype, device=both.device)
        inner = torch.linalg.solve(identity + others @ second.T, others @ first.T)
        weighted: Tensor = first - inner.T @ second
        return weighted
