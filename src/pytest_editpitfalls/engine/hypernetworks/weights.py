"""A trained network's file: safetensors, with a header that says what it was trained for.

The header names the model and its fingerprint, the edited blocks and matrices, rank, data, options and versions. A
network is refused for any other model: its inputs would mean something else.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pytest_editpitfalls.engine.token_gradients import Matrix
from pytest_editpitfalls.errors import UsageError

N = TypeVar("N", bound=nn.Module)

_TABLES = ("data", "options", "versions", "progress")

MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a header that is not of its form can raise."""


@dataclass(frozen=True)
class WeightsHeader:
    """What a file says of itself.

    Attributes:
        model: name of the model as it was given.
        fingerprint: SHA-256 of the model's config, tokenizer and weights.
        dtype: the model's dtype ("float32").
        layers: the edited blocks.
        matrices: the edited matrices, in the order of the step sizes.
        rank: rank of the network's layers.
        data: files, digests and counts of what was trained on.
        options: the training's hyper-parameters.
        versions: of the plugin, torch and transformers.
        progress: edits seen, and the validation of these very weights.
    """

    model: str
    fingerprint: str
    dtype: str
    layers: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    rank: int
    data: dict[str, Any]
    options: dict[str, Any]
    versions: dict[str, str]
    progress: dict[str, Any]

    def metadata(self, kind: NetworkKind[Any]) -> dict[str, str]:
        """As safetensors wants it: text by name."""
        return {
            "format": kind.format,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dtype": self.dtype,
            "rank": str(self.rank),
            "layers": json.dumps(self.layers),
            "modules": json.dumps([[m.module, m.d_o, m.d_k] for m in self.matrices]),
            **{name: json.dumps(getattr(self, name), sort_keys=True) for name in _TABLES},
        }

    @classmethod
    def of(cls, metadata: dict[str, str]) -> WeightsHeader:
        """Read `metadata`'s form; raises one of `MALFORMED` where it is not that."""
        tables: dict[str, Any] = {name: dict(json.loads(metadata[name])) for name in _TABLES}
        return cls(
            model=metadata["model"],
            fingerprint=metadata["fingerprint"],
            dtype=metadata["dtype"],
            layers=tuple(int(layer) for layer in json.loads(metadata["layers"])),
            matrices=tuple(Matrix(str(name), int(d_o), int(d_k)) for name, d_o, d_k in json.loads(metadata["modules"])),
            rank=int(metadata["rank"]),
            **tables,
        )


@dataclass(frozen=True)
class NetworkKind(Generic[N]):
    """The networks of one editor.

    Attributes:
        editor: name of the editor ("mend").
        title: its name in the field ("MEND").
        make: an untrained network for the matrices, as the header describes it, that computes in a dtype; it raises
            one of `MALFORMED` where the header describes none.
    """

    editor: str
    title: str
    make: Callable[[Sequence[Matrix], WeightsHeader, torch.dtype], N]

    @property
    def command(self) -> str:
        """What ``editpitfalls`` calls its training."""
        return f"train-{self.editor}"

    @property
    def format(self) -> str:
        """What its files say that they are."""
        return f"pytest-editpitfalls {self.title} 1"

    @property
    def retrain(self) -> str:
        """How to get another one, as advice."""
        return f"train one for this model: editpitfalls {self.command} --model MODEL --data DATA --out PATH"


def save_weights(path: Path, kind: NetworkKind[N], network: N, header: WeightsHeader) -> None:
    """Write the file whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=header.metadata(kind))


def read_header(path: Path, kind: NetworkKind[Any]) -> WeightsHeader:
    """The header alone.

    Raises:
        UsageError: the file is damaged, or none that `save_weights` wrote.
    """
    return _read(path, kind, with_tensors=False)[0]


def load_weights(
    path: Path,
    kind: NetworkKind[N],
    *,
    fingerprint: str,
    model: str,
    dtype: str,
    layers: Sequence[int],
    matrices: Sequence[Matrix],
    network_dtype: torch.dtype,
    device: torch.device,
) -> tuple[N, WeightsHeader]:
    """The network, if it was trained for this very model.

    Args:
        fingerprint: of the loaded model.
        model: its name, for messages.
        dtype: how its weights are kept ("float32").
        layers: the blocks that the hyper-parameters ask for; none where they name matrices (``edit_modules``).
        matrices: the matrices that they ask for.
        network_dtype: dtype that the network computes in.

    Raises:
        UsageError: another model, dtype, other blocks or shapes; or a damaged file.
    """
    header, tensors = _read(path, kind, with_tensors=True)
    if header.dtype != dtype:
        raise UsageError(
            f"the network was trained on {header.model} in {header.dtype}, but this run uses {dtype}",
            where=str(path),
            fix=f"load the model in {header.dtype}, or {kind.retrain}",
        )
    names, found = ([matrix.module for matrix in each] for each in (matrices, header.matrices))
    as_asked = header.layers == tuple(layers) and (bool(layers) or found == names)
    if header.matrices != tuple(matrices) and as_asked:
        ours, theirs = _first_difference(matrices, header.matrices)
        raise UsageError(
            f"the network was trained for another model ({header.model}): it has {theirs}, {model} has {ours}",
            where=str(path),
            fix=kind.retrain,
        )
    if header.fingerprint != fingerprint:
        raise UsageError(
            f"the network was trained for another model: {header.model} with fingerprint "
            f"{header.fingerprint[:12]}, not {model} with {fingerprint[:12]}",
            where=str(path),
            fix=kind.retrain,
        )
    if not as_asked:
        edits = f"the blocks {list(header.layers)}" if header.layers else f"the matrices {', '.join(found)}"
        setting = f"layers={list(header.layers)}" if header.layers else f"edit_modules={json.dumps(found)}"
        raise UsageError(
            f"the network edits {edits}, but "
            + (f"layers is {list(layers)}" if layers else f"edit_modules is {json.dumps(names)}"),
            where=str(path),
            fix=f"--pitfalls-set '{kind.editor}.{setting}'",
        )
    try:
        with torch.device("meta"):  # no memory for a rank that the file may only claim
            network = kind.make(matrices, header, network_dtype)
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise UsageError(
            f"the file's tensors do not fit its header: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            fix=kind.retrain,
        ) from None
    except MALFORMED as error:
        raise UsageError(f"the file's header is damaged: {error!r}", where=str(path), fix=kind.retrain) from None
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise UsageError("the network has NaN or infinity in it", where=str(path), fix=kind.retrain)
    network.to(device, network_dtype)
    network.requires_grad_(False)
    return network.eval(), header


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an exception.

    Where ``path`` is a link, that is the place of the file that it leads to.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path, kind: NetworkKind[Any], *, with_tensors: bool) -> tuple[WeightsHeader, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind.format:
                raise UsageError(
                    f"this is no {kind.title} network of this version (format '{metadata.get('format', 'none')}', "
                    f"wanted '{kind.format}')",
                    where=str(path),
                    fix=f"name the file that {kind.command} wrote; or {kind.retrain}",
                )
            header = WeightsHeader.of(metadata)
            names = file.keys() if with_tensors else ()
            return header, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"the file cannot be read: {error}", where=str(path), fix=kind.retrain) from None
    except MALFORMED as error:
        raise UsageError(f"the file's header is damaged: {error!r}", where=str(path), fix=kind.retrain) from None


def _first_difference(ours: Sequence[Matrix], theirs: Sequence[Matrix]) -> tuple[str, str]:
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            return f"{a.module} {a.d_o} x {a.d_k}", f"{b.module} {b.d_o} x {b.d_k}"
    return f"{len(ours)} matrices", f"{len(theirs)} matrices"
