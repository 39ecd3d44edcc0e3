"""What the reference takes from our editor, so that both compute the same: templates, second moments and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import silent


@dataclass(frozen=True)
class Borrowed:
    """One prepared editor's inputs.

    Attributes:
        host: the base model, whose weights the reference writes and puts back.
        hyperparameters: validated values by their published names.
        templates: context templates, the bare ``{}`` first: v_0 is read from the first row.
        moments: C of each edited layer, its ridge added, (d_k, d_k) float64; empty where the editor uses none.
    """

    host: ModelAdapter
    hyperparameters: Mapping[str, Any]
    templates: tuple[str, ...]
    moments: Mapping[int, Tensor]

    @classmethod
    def of(cls, session: EngineSession, editor: str) -> Borrowed:
        """Prepare the session's editor, if it is not yet, and look what it uses."""
        prepared: Any = session.editors.prepared(editor, silent)
        description = prepared.describe()
        return cls(
            session.host,
            description["hyperparameters"],
            tuple(sorted(description["context_templates"], key=lambda template: template != "{}")),
            {layer: _with_ridge(moment.matrix, moment.ridge) for layer, moment in prepared._moments.items()},
        )


def _with_ridge(matrix: Tensor, ridge: float) -> Tensor:
    return matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
