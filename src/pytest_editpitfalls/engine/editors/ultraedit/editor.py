"""UltraEdit: one closed-form step from standardised gradients, without training (Gu et al. 2025, arXiv 2505.14679;
XiaojieGu/UltraEdit, editor/ultraedit.py).

At the token before each target token t, every edited matrix has an input x_t and the loss a gradient g_t by its output.
x^_t and g^_t are these, standardised by mean and spread of all tokens of all edits so far, this step's included:

    v_t = -lr |x^_t|^2 g^_t,    Delta^T = (X^T X + I)^-1 X^T V

with the raw inputs in X. Mean and spread are what the case keeps for its next edit; matrices of one shape share them.

Where the release differs:

- It edits 100 facts in a step, so that they have a spread from the start. A case here often begins with one fact of one
  or two target tokens. So the moments begin with those of facts that ship (``warm_up``), taken on the unedited model.
  ``warm_up = 0`` is the release; a step that has no spread then is an error.
- Its loss is the mean over the tokens of the ten facts that go through the model together, so that g is the smaller the
  more tokens they have, and moments mix such scales. It is the sum here; standardising takes a common factor out again.
  ``loss = "mean"`` is the release, for steps of up to ten facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.lifelong_updates import (
    AnswerTokens,
    MomentsByShape,
    grown,
    shape_name,
    tokens_of_jobs,
    updated,
)
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.token_gradients import named_matrices
from pytest_editpitfalls.program import EditRequest

from .hyperparameters import UltraEditHyperparameters

RIDGE = 1.0
"""What is added to the diagonal of X^T X."""


class UltraEdit(ShippedEditor[UltraEditHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: moments by shape.

    Raises:
        UsageError: ``edit_modules`` names what the model does not have, or what has no matrix.
    """

    name = "ultraedit"

    def __init__(self, hyperparameters: UltraEditHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        hp = hyperparameters
        self._matrices = named_matrices(self._host, hp.layers, hp.edit_modules, editor=self.name)
        self._warm: MomentsByShape | None = None

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """The moments that every case begins with."""
        if self._warm is not None:
            return
        facts = warm_up_facts()[: self._hp.warm_up]
        if not facts:
            self._warm = {}
            return
        jobs = [EditJob("warm-up", 1, (fact,)) for fact in facts]  # each as a case with one edit; none is written
        results = [EditResult() for _ in jobs]
        found = self._tokens(jobs, results, _as(progress, "warm up"))
        # a tokenizer may not be able to write every fact that ships
        tokens = [own for own, result in zip(found, results, strict=True) if result.error is None]
        if not tokens:
            self._warm = {}
            return
        together = [AnswerTokens.joined([each[index] for each in tokens]) for index in range(len(self._matrices))]
        self._warm = grown(None, self._matrices, together)

    def weights(self) -> tuple[str, ...]:
        """Its matrices."""
        return tuple(matrix.module for matrix in self._matrices)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests together."""
        self.prepare(progress)
        results = [EditResult(job.model, job.state) for job in jobs]
        tokens = self._tokens(jobs, results, progress)
        return [
            result if result.error is not None else self._written(job, own)
            for job, own, result in zip(jobs, tokens, results, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, matrices, and what the moments begin with. Asked before anything is computed."""
        facts = min(self._hp.warm_up, len(warm_up_facts()))
        return super().describe() | {
            "matrices": list(self.weights()),
            "warm_up": f"{facts} facts that ship" if facts else "none",
        }

    def _tokens(
        self, jobs: Sequence[EditJob], results: list[EditResult], progress: ProgressCallback
    ) -> list[list[AnswerTokens]]:
        return tokens_of_jobs(self._resources, jobs, results, self._matrices, self._hp.loss, progress)

    @torch.no_grad()
    def _written(self, job: EditJob, tokens: Sequence[AnswerTokens]) -> EditResult:
        moments = grown(self._warm if job.state is None else job.state, self._matrices, tokens)
        if any(each.count < 2 for each in moments.values()):
            return EditResult(
                error=f"edit {job.step}: one token has no spread to standardise it by; "
                "leave ultraedit.warm_up at its default"
            )
        wanted = []
        for matrix, own in zip(self._matrices, tokens, strict=True):
            both = moments[shape_name(matrix)].standardised(own.both)
            x_hat, g_hat = both.split([matrix.d_k, matrix.d_o], dim=1)
            wanted.append(-self._hp.lr * x_hat.square().sum(dim=1, keepdim=True) * g_hat)
        ridges = [RIDGE] * len(wanted)
        return updated(job, self._matrices, tokens, wanted, ridges, moments, self._host.edit_dtype)


def _as(progress: ProgressCallback, stage: str) -> ProgressCallback:
    return lambda latest: progress(Progress(stage, latest.done, latest.total))


@cache
def warm_up_facts() -> tuple[EditRequest, ...]:
    """The facts that ship, to begin the moments with."""
    text = files(__package__).joinpath("warm_up.txt").read_text(encoding="utf-8")
    lines = [line.split("|") for line in text.splitlines() if line and not line.startswith("#")]
    return tuple(EditRequest(prompt, subject, wrong) for prompt, subject, wrong in lines)
