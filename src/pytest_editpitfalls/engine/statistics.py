"""Second moments C = E[k k^T] of a down-projection's input: collected, cached and factorised.

Uncentred; every token of every document counts (field notes 1, C). One Cholesky factorisation per layer serves all
cases. The source is part of the key and of the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pytest_editpitfalls.errors import UsageError

from .bucketing import buckets
from .corpora import MomentSource, dataset_texts, digest_of, published_moment, text_lines
from .forward import Forward, Rows
from .sampling import sampled_documents
from .settings import Progress, ProgressCallback, silent

SAMPLED_LENGTH = 64
"""Tokens per document of the default, self-sampled corpus."""

TOKENS_PER_DIMENSION = 8
"""Self-sampled tokens per row of C: with fewer, C is dominated by noise (field notes 1: tokens >> d_k)."""


@dataclass(frozen=True)
class NullSpace:
    """Directions of C with a small eigenvalue, as P = U0 U0^T.

    Attributes:
        basis: (d_k, m) float64, orthonormal: of the space itself or, where that is larger, of its complement.
        complement: which of the two.
    """

    basis: Tensor
    complement: bool

    def project(self, keys: Tensor) -> Tensor:
        """P applied to keys (n, d_k), in float64."""
        keys = keys.double()
        inside = keys @ self.basis @ self.basis.T
        return keys - inside if self.complement else inside


@dataclass
class SecondMoment:
    """C of one layer.

    Attributes:
        matrix: (d_k, d_k) float64, without the ridge.
        tokens: tokens that it was estimated from.
        ridge: what is added to the diagonal, absolute.
        record: how it came about, as plain JSON types.
    """

    matrix: Tensor
    tokens: int
    ridge: float
    record: dict[str, Any]
    _factor: Tensor | None = field(default=None, repr=False)
    _null_spaces: dict[float, NullSpace] = field(default_factory=dict, repr=False)

    def null_space(self, threshold: float) -> NullSpace:
        """Eigenvectors of C (without the ridge) with an eigenvalue under ``threshold``; decomposed once.

        Raises `UsageError` where no eigenvalue or every one is under it: nothing or everything could be changed.
        """
        if threshold not in self._null_spaces:
            values, vectors = torch.linalg.eigh(self.matrix)
            size, small = len(values), int((values < threshold).sum())
            if small in (0, size):
                raise UsageError(
                    f"{'every' if small else 'no'} eigenvalue of the second moment of {self.record['module']} is "
                    f"under nullspace_threshold = {threshold:g}: they lie between {float(values[0]):.3g} and "
                    f"{float(values[-1]):.3g}",
                    where=f"mom2 source {self.record['source']['kind']} {self.record['source']['reference']}".rstrip(),
                    fix="set a threshold between the two: --pitfalls-set EDITOR.nullspace_threshold=VALUE",
                )
            complement = small > size / 2  # eigenvalues ascend
            basis = vectors[:, small:] if complement else vectors[:, :small]
            self._null_spaces[threshold] = NullSpace(basis.clone(), complement)
        return self._null_spaces[threshold]

    def solve(self, keys: Tensor) -> Tensor:
        """C^-1 applied to keys (n, d_k), in float64; raises `UsageError` where C has no inverse."""
        if self._factor is None:
            size = self.matrix.shape[0]
            regular = self.matrix + self.ridge * torch.eye(
                size, dtype=torch.float64, device=self.matrix.device
            )
            factor, info = torch.linalg.cholesky_ex(regular)
            # Rounding can leave tiny positive pivots in a singular matrix: each is held against its own diagonal.
            pivots = factor.diagonal().square()
            regular_pivots = pivots > size * torch.finfo(torch.float64).eps * regular.diagonal()
            if int(info) != 0 or not bool(regular_pivots.all()):
                raise UsageError(
                    f"the second moment of {self.record['module']} is singular: {self.tokens} tokens for {size} "
                    "dimensions",
                    where=f"mom2 source {self.record['source']['kind']} {self.record['source']['reference']}".rstrip(),
                    fix="use more text, or add a ridge: --pitfalls-set EDITOR.mom2_ridge=0.01",
                )
            self._factor = factor
        return torch.cholesky_solve(keys.double().T, self._factor).T


class SecondMoments:
    """Computes, caches and hands out second moments of one model.

    Args:
        forward: the model.
        fingerprint: of the model's weights and tokenizer; part of the cache's key.
        cache: directory for finished matrices.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(self, forward: Forward, *, fingerprint: str, cache: Path, max_tokens: int) -> None:
        self._forward = forward
        self._fingerprint = fingerprint
        self._cache = cache
        self._max_tokens = max_tokens
        self._loaded: dict[tuple[MomentSource, int], SecondMoment] = {}

    def get(
        self, source: MomentSource, layers: Sequence[int], progress: ProgressCallback = silent
    ) -> dict[int, SecondMoment]:
        """C of each of ``layers``; all missing ones are computed in one pass over the corpus.

        Raises:
            UsageError: the source is missing, unreadable, without text, or does not fit the model.
        """
        if source.kind == "npz" and len(set(layers)) != 1:
            raise UsageError(
                "one .npz holds one layer",
                where=source.reference,
                fix="use mom2_npz with editors of a single layer",
            )
        missing = [layer for layer in layers if (source, layer) not in self._loaded]
        if missing:
            content = _content_key(source, self._forward.host.device.type)
            # Workers that start together: one computes, the others wait and read.
            with self._locked(content):
                self._fill(source, content, missing, progress)
        return {layer: self._loaded[source, layer] for layer in layers}

    def _fill(
        self, source: MomentSource, content: str, layers: list[int], progress: ProgressCallback
    ) -> None:
        found = {layer: self._read(source, content, layer) for layer in layers}
        self._loaded |= {(source, layer): moment for layer, moment in found.items() if moment is not None}
        missing = [layer for layer, moment in found.items() if moment is None]
        if missing:
            sums, tokens = self._collect(source, missing, progress)
            for layer, total in sums.items():
                self._loaded[source, layer] = self._finish(source, layer, total / tokens, tokens)
                self._write(content, layer, self._loaded[source, layer])

    @contextmanager
    def _locked(self, content: str) -> Iterator[None]:
        """One process at a time for one source; no lock where none can be made."""
        # Among the temporary files: the cache holds nothing but matrices, and may be read-only.
        lock = FileLock(Path(tempfile.gettempdir()) / f"editpitfalls-{self._path(content, -1).stem}.lock")
        try:
            lock.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _finish(self, source: MomentSource, layer: int, matrix: Tensor, tokens: int) -> SecondMoment:
        share = source.ridge
        if share is None:
            # Shrinks where documents are few: a tenth of the noise-to-signal ratio d_k / tokens.
            share = matrix.shape[0] / (10 * tokens) if source.kind == "sampled" else 0.0
        mean_eigenvalue = float(matrix.trace()) / matrix.shape[0]
        record = {
            "module": self._forward.host.down_projection_path(layer),
            "source": {
                **asdict(source),
                "reference": Path(source.reference).name if source.reference else "",
            },
            "tokens": tokens,
            "ridge": share,
            "trace": float(matrix.trace()),
            "frobenius_norm": float(matrix.norm()),
        }
        return SecondMoment(matrix, tokens, share * mean_eigenvalue, record)

    def _collect(
        self, source: MomentSource, layers: Sequence[int], progress: ProgressCallback
    ) -> tuple[dict[int, Tensor], int]:
        """Sum of k k^T over all tokens, for each layer, and the number of tokens."""
        if source.kind == "npz":
            size = self._forward.host.matrix_shape(layers[0])[1]
            published, count = published_moment(source, layers[0], size)
            return {layers[0]: torch.from_numpy(published).to(self._forward.host.device)}, count
        documents = self._documents(source, progress)
        host = self._forward.host
        sums = {
            layer: torch.zeros(2 * [host.matrix_shape(layer)[1]], dtype=torch.float64, device=host.device)
            for layer in layers
        }
        taken: dict[int, Tensor] = {}
        hooks = [
            host.down_projection(layer).register_forward_pre_hook(
                lambda _m, args, layer=layer: taken.__setitem__(layer, args[0])
            )
            for layer in layers
        ]
        done = 0
        total = sum(map(len, documents))
        try:
            with torch.no_grad():
                for bucket in buckets([len(d) for d in documents], max_tokens=self._max_tokens):
                    rows = Rows.pad([documents[i] for i in bucket], host.device)
                    self._forward.blocks(rows, last=max(layers) + 1)
                    width = rows.ids.shape[1]
                    there = torch.tensor([c < len(documents[i]) for i in bucket for c in range(width)])
                    there = there.to(host.device)
                    for layer in layers:
                        keys = taken[layer].reshape(-1, taken[layer].shape[-1])[there].double()
                        sums[layer].addmm_(keys.T, keys)
                    done += int(there.sum())
                    progress(Progress("second moment", done, total))
        finally:
            for hook in hooks:
                hook.remove()
        return sums, done

    def _documents(self, source: MomentSource, progress: ProgressCallback) -> list[list[int]]:
        host = self._forward.host
        limit = getattr(host.model.config, "max_position_embeddings", None) or 2048
        if source.kind == "sampled":
            wanted = source.tokens or TOKENS_PER_DIMENSION * max(
                host.matrix_shape(layer)[1] for layer in range(host.n_layers)
            )
            progress(Progress("sampling text for the second moment", 0, wanted))
            return sampled_documents(host, wanted, length=min(SAMPLED_LENGTH, limit), seed=source.seed)
        texts = text_lines(source) if source.kind == "text" else dataset_texts(source)
        documents = [list(host.tokenizer(text)["input_ids"])[:limit] for text in texts]
        documents = [ids for ids in documents if ids]
        if not documents:
            raise UsageError(
                "no text to compute second moments from", where=source.reference, fix="one document a line"
            )
        return documents

    def _path(self, content: str, layer: int) -> Path:
        key = json.dumps([self._fingerprint, content, self._forward.host.down_projection_path(layer)])
        return self._cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def _read(self, source: MomentSource, content: str, layer: int) -> SecondMoment | None:
        path = self._path(content, layer)
        size = self._forward.host.matrix_shape(layer)[1]
        try:
            with safe_open(path, framework="pt", device=str(self._forward.host.device)) as file:
                metadata = file.metadata()
                tokens, norm = int(metadata["tokens"]), float(metadata["frobenius_norm"])
                matrix: Tensor = file.get_tensor("mom2")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None  # absent or damaged: computed again and written anew
        # A crash of the machine can leave a file of the right length with blocks that were never written.
        if matrix.shape != (size, size) or tokens < 1 or not abs(float(matrix.norm()) - norm) <= 1e-9 * norm:
            return None
        return self._finish(source, layer, matrix, tokens)

    def _write(self, content: str, layer: int, moment: SecondMoment) -> None:
        """Keep a finished matrix; a cache that cannot be written only costs time."""
        path = self._path(content, layer)
        metadata = {
            "tokens": str(moment.tokens),
            "frobenius_norm": repr(moment.record["frobenius_norm"]),
            "record": json.dumps(moment.record),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        except OSError:
            return
        os.close(handle)
        try:
            save_file({"mom2": moment.matrix.cpu().contiguous()}, temporary, metadata=metadata)
            os.replace(temporary, path)
        except (OSError, SafetensorError):  # safetensors reports a full disk as an error of its own
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _content_key(source: MomentSource, device: str) -> str:
    """What the numbers depend on: the file's content, not its name; the ridge is added after the cache."""
    parts: dict[str, Any] = {**asdict(source), "ridge": None, "format": 3}
    if source.kind in ("text", "npz"):
        parts["reference"] = digest_of(source)
    if source.kind == "sampled":
        # A CPU and a GPU draw different text from one seed.
        parts |= {"length": SAMPLED_LENGTH, "per_dimension": TOKENS_PER_DIMENSION, "device": device}
    return json.dumps(parts, sort_keys=True)
