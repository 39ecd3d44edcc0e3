"""What a training needs to go on after it was stopped: network, Adam's moments, counts. Written whole or not at all."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from pytest_editpitfalls.errors import UsageError

from .weights import replacing


def checkpoint_path(out: Path) -> Path:
    """Where the checkpoint of a training with the result ``out`` lies."""
    return out.with_name(f"{out.name}.checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training.

    Attributes:
        identity: model, data and options; only the same training goes on.
        network: the network's tensors.
        optimiser: Adam's state.
        state: counts and validations, as plain types.
    """

    identity: dict[str, Any]
    network: dict[str, Any]
    optimiser: dict[str, Any]
    state: dict[str, Any]

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            torch.save({each.name: getattr(self, each.name) for each in fields(self)}, temporary)

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> Checkpoint:
        """Read a checkpoint of this very training.

        Args:
            path: the file.
            identity: what the training that wants to go on is.

        Raises:
            UsageError: there is none, it is damaged, or it is another training's.
        """
        start_anew = "leave --resume out to start anew"
        if not path.is_file():
            raise UsageError("there is no checkpoint to go on from", where=str(path), fix=start_anew)
        try:
            found = cls(**torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, EOFError, RuntimeError, TypeError, KeyError, pickle.UnpicklingError) as error:
            raise UsageError(
                f"the checkpoint cannot be read: {str(error).splitlines()[0] if str(error) else error!r}",
                where=str(path),
                fix=start_anew,
            ) from None
        for key, value in identity.items():
            if found.identity.get(key) != value:
                raise UsageError(
                    f"the checkpoint is of another training: {key} was {found.identity.get(key)!r}, "
                    f"now it is {value!r}",
                    where=str(path),
                    fix=f"give the same {key}, or {start_anew}",
                )
        return found
