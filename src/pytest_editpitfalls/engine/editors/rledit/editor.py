"""RLEdit: a network that is trained over chains of edits says which outputs are wanted (Li et al. 2025, arXiv
2502.05759; zhrli324/RLEdit, editor/rledit.py, which builds upon MALMEN).

At the token before each target token t, every edited matrix has an input x_t and the loss a gradient g_t by its output,
both at the edited model as it stands. The network makes a wanted change v_t of the output of them, and the update is

    Delta^T = (X^T X + e^lambda_m I)^-1 X^T V

See `network` for v_t. Mean and spread that x and g are standardised by start with those of the training and grow with
every edit of the case, this step's tokens included: they are what the case keeps for its next edit.

Where the release differs: its loss is the mean over the tokens of the facts that go through the model together. Here it
is their sum, so that a case with one fact of one token is on the scale of the training's steps; networks that were
trained with ``loss = "mean"`` are applied with the mean over a step's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.hypernetworks.trained_editor import TrainedEditor
from pytest_editpitfalls.engine.lifelong_updates import grown, shape_name, tokens_of_jobs, updated
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.engine.token_gradients import Matrix, named_matrices

from .hyperparameters import RleditHyperparameters
from .network import RleditNetwork
from .training import RLEDIT, loss_of


class Rledit(TrainedEditor[RleditHyperparameters, RleditNetwork]):
    """The batched editor. See the module's docstring for the equations; the hyper-parameter ``weights`` is needed.

    A case's state: moments by shape.

    Raises:
        UsageError: no trained network, a damaged one, or one for another model or other matrices.
    """

    name = "rledit"
    kind = RLEDIT

    def asked(self) -> tuple[Matrix, ...]:
        """Those that it names, or the down-projections of its blocks."""
        return named_matrices(self._host, self._hp.layers, self._hp.edit_modules, editor=self.name)

    @torch.no_grad()
    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests together; the tokens of all jobs go through the network together."""
        results = [EditResult(job.model, job.state) for job in jobs]
        loss = loss_of(self._header)
        tokens = tokens_of_jobs(self._resources, jobs, results, self._matrices, loss, progress)
        good = [index for index, result in enumerate(results) if result.error is None]
        if not good:
            return results
        first = self._network.moments()
        moments = [grown(jobs[index].state or first, self._matrices, tokens[index]) for index in good]
        wanted = []
        for place, matrix in enumerate(self._matrices):
            own = [tokens[index][place] for index in good]
            standardised = [
                each[shape_name(matrix)].standardised(part.both) for each, part in zip(moments, own, strict=True)
            ]
            changes = self._network.wanted(place, torch.cat([part.x for part in own]), torch.cat(standardised))
            wanted.append(changes.split([len(part.x) for part in own]))
        ridges = [self._network.ridge(place) for place in range(len(self._matrices))]
        for at, index in enumerate(good):
            own_wanted = [each[at] for each in wanted]
            results[index] = updated(
                jobs[index], self._matrices, tokens[index], own_wanted, ridges, moments[at], self._host.edit_dtype
            )
        return results
