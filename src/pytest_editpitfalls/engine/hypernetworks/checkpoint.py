"""What a training needs to go on after it was stopped: network, Adam's moments, counts. Written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pytest_editpitfalls.errors import UsageError

from .weights import MALFORMED, replacing


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
        """Write it as safetensors: what is no tensor stands in the header, as JSON."""
        tensors = {f"network/{name}": value for name, value in self.network.items()}
        for index, values in self.optimiser["state"].items():
            tensors |= {f"optimiser/{index}/{name}": value for name, value in values.items()}
        plain = {
            "identity": self.identity,
            "groups": self.optimiser["param_groups"],
            "state": self.state,
        }
        with replacing(path) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                temporary,
                metadata={name: json.dumps(value) for name, value in plain.items()},
            )

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> Checkpoint:
        """Read a checkpoint of this very training.

        Args:
            identity: what the training that wants to go on is.

        Raises:
            UsageError: there is none, it is damaged, or it is another training's.
        """
        start_anew = "leave --resume out to start anew"
        if not path.is_file():
            raise UsageError("there is no checkpoint to go on from", where=str(path), fix=start_anew)
        try:
            found = cls._read(path)
        except (OSError, SafetensorError, *MALFORMED) as error:
            raise UsageError(f"the checkpoint cannot be read: {error!r}", where=str(path), fix=start_anew) from None
        for key, value in identity.items():
            if found.identity.get(key) != value:
                raise UsageError(
                    f"the checkpoint is of another training: {key} was {found.identity.get(key)!r}, "
                    f"now it is {value!r}",
                    where=str(path),
                    fix=f"give the same {key}, or {start_anew}",
                )
        return found

    @classmethod
    def _read(cls, path: Path) -> Checkpoint:
        with safe_open(path, framework="pt") as file:
            plain = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network: dict[str, Tensor] = {}
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "network":
                network[rest] = value
            else:
                index, _, key = rest.partition("/")
                states.setdefault(int(index), {})[key] = value
        optimiser = {"state": states, "param_groups": plain["groups"]}
        return cls(dict(plain["identity"]), network, optimiser, dict(plain["state"]))
