"""An editor that applies a network which was trained for the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from pytest_editpitfalls.engine import models
from pytest_editpitfalls.engine.editing.interface import EditorResources, ShippedEditor
from pytest_editpitfalls.engine.models.file_state import file_sha256
from pytest_editpitfalls.engine.token_gradients import Matrix
from pytest_editpitfalls.errors import UsageError

from .hyperparameters import NetworkHyperparameters
from .weights import NetworkKind, load_weights

V = TypeVar("V", bound=NetworkHyperparameters)
N = TypeVar("N", bound=nn.Module)


class TrainedEditor(ShippedEditor[V], ABC, Generic[V, N]):
    """Loads the network of the hyper-parameter ``weights``; what is done with it is a subclass's.

    Attributes:
        kind: whose networks it applies.

    Raises:
        UsageError: no trained network, a damaged one, or one for another model.
    """

    kind: ClassVar[NetworkKind[Any]]

    def __init__(self, hyperparameters: V, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        host, name, kind = self._host, resources.settings.model, self.kind
        if hyperparameters.weights is None:
            raise UsageError(
                f"{kind.title} needs a network that was trained for this model",
                where=f"{kind.editor}.weights",
                fix=f"train one with 'editpitfalls {kind.command} --model {name} --data DATA --out PATH' "
                f"(docs/{kind.editor}.md), then --pitfalls-set {kind.editor}.weights=PATH",
            )
        self._matrices = self.asked()
        network, self._header = load_weights(
            hyperparameters.weights,
            kind,
            fingerprint=_fingerprint(resources),
            model=name,
            dtype=host.precision,
            layers=hyperparameters.layers,
            matrices=self._matrices,
            network_dtype=host.edit_dtype,
            device=host.device,
        )
        self._network: N = network
        self._digest = file_sha256(hyperparameters.weights, models.cache_directory())

    @abstractmethod
    def asked(self) -> tuple[Matrix, ...]:
        """The matrices that the hyper-parameters name; raises `UsageError` where the model does not have them."""

    def weights(self) -> tuple[str, ...]:
        """The matrices that its network was trained for."""
        return tuple(matrix.module for matrix in self._matrices)

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, and what the network says of its training."""
        header = asdict(self._header)
        header["matrices"] = [matrix.module for matrix in self._header.matrices]
        header["layers"] = list(self._header.layers)
        return super().describe() | {"network": {"sha256": self._digest, **header}}


def _fingerprint(resources: EditorResources) -> str:
    """Of the loaded model; remembered in the cache where it is known where the model came from."""
    host = resources.host
    try:
        source = models.resolve(resources.settings.model)
    except UsageError:  # a model object that was handed over, not loaded by name
        source = None
    return models.fingerprint(host.model, host.tokenizer, source)
