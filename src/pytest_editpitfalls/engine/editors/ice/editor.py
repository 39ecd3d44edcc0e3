"""ICE: the new fact before the prompt, nothing else (Cohen et al. 2023, arXiv 2307.12976).

    New Fact: {rewrite prompt} {target}
    Prompt: ...

A later edit's fact goes behind the earlier ones, so the newest stands last, next to the prompt; requests of one step
(Multi-Label Edit) stand in their order. The format is that of zjunlp/EasyEdit's IKE. The order is in the case's notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.in_context import Facts, Window, facts_text, prefix_result, program_of
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError

from .hyperparameters import IceHyperparameters


class Ice(ShippedEditor[IceHyperparameters]):
    """The editor. See the module's docstring."""

    name = "ice"

    def __init__(self, hyperparameters: IceHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._window = Window(self._host)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Put each job's facts into its prefix, behind those of earlier edits."""
        results = []
        for job in jobs:
            facts: Facts = (*(job.state or ()), *job.requests)
            text = facts_text(facts)
            try:
                self._window.check(text, program_of(job))
            except CaseError as error:
                results.append(EditResult(error=f"edit {job.step}: {error}"))
                continue
            results.append(prefix_result(job, facts, text))
        progress(Progress("edit", len(jobs), len(jobs)))
        return results

    def describe(self) -> dict[str, Any]:
        """The format of the prefix."""
        return {"editor": self.name, "format": "New Fact: {prompt} {target}\\n ... Prompt: "}
