"""Second moments of one model: which source, from the cache or computed, and under which key they are kept."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from pytest_editpitfalls.engine.corpora import (
    MomentSource,
    count_lines,
    dataset_size,
    dataset_texts,
    digest_of,
    published_moment,
    text_lines,
)
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.sampling import sampled_documents
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import UsageError

from .collection import collect, symmetric
from .documents import WINDOW, Documents, tokenised
from .partial import PartialFile
from .second_moment import SecondMoment
from .tensor_files import read_tensors, write_tensors

SAMPLED_LENGTH = 64
"""Tokens per document of the default, self-sampled corpus."""

TOKENS_PER_DIMENSION = 8
"""Self-sampled tokens per row of C: it has rank d_k with d_k tokens at the least, and little noise with many more."""

SHIPPED_TEXTS = Path(__file__).parent / "texts"
"""Texts that were sampled once and ship, under the names that they would have in the cache: the embedded model's."""

SHIPPED = " shipped"
"""Behind the key of a text that ships."""

SAMPLING = "sampling text for the second moment"


class SecondMoments:
    """Computes, caches and hands out second moments of one model.

    Args:
        fingerprint: of the model's weights and tokenizer; part of the cache's key.
        cache: directory for finished matrices, their factorisations, and what unfinished passes have summed.
        max_tokens: padded tokens per forward pass.
        texts: directory of sampled texts that ship.
    """

    def __init__(
        self, forward: Forward, *, fingerprint: str, cache: Path, max_tokens: int, texts: Path = SHIPPED_TEXTS
    ) -> None:
        self._forward = forward
        self._fingerprint = fingerprint
        self._cache = cache
        self._max_tokens = max_tokens
        self._texts = texts
        self._loaded: dict[tuple[MomentSource, int], SecondMoment] = {}

    def emptied(self) -> SecondMoments:
        """The same, with nothing in memory yet: another seed's matrices take as much, and are in the cache as well."""
        other = copy.copy(self)
        other._loaded = {}
        return other

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
            if self._shipped(content).is_file():
                content += SHIPPED  # what was drawn before on this machine may be another text
            # Workers that start together: one computes, the others wait and read.
            with self._locked(content):
                self._fill(source, content, missing, progress)
        return {layer: self._loaded[source, layer] for layer in layers}

    def _fill(self, source: MomentSource, content: str, layers: list[int], progress: ProgressCallback) -> None:
        host = self._forward.host
        found = {layer: self._read(source, content, layer) for layer in layers}
        self._loaded |= {(source, layer): moment for layer, moment in found.items() if moment is not None}
        missing = sorted({layer for layer, moment in found.items() if moment is None})
        if not missing:
            return
        if source.kind == "npz":
            (layer,) = missing
            published, tokens = published_moment(source, layer, host.matrix_shape(layer)[1])
            self._keep(source, content, {layer: torch.from_numpy(published).to(host.device)}, tokens)
            return
        documents = self._documents(source, content, progress)
        partial = PartialFile(
            self._partial_path(content, missing),
            {layer: host.matrix_shape(layer)[1] for layer in missing},
            host.device,
        )
        summed = collect(
            self._forward, documents, missing, max_tokens=self._max_tokens, file=partial, progress=progress
        )
        if summed.tokens == 0:
            raise UsageError(
                "no text to compute second moments from", where=source.reference, fix="one document a line"
            )
        sums = {layer: symmetric(total) for layer, total in summed.sums.items()}
        self._keep(source, content, sums, summed.tokens)
        partial.discard()

    def _keep(self, source: MomentSource, content: str, sums: dict[int, Tensor], tokens: int) -> None:
        """Remember the matrices of ``sums`` and write them to the cache; one that cannot be written only costs time."""
        for layer, total in sums.items():
            moment = self._finish(source, content, layer, total / tokens, tokens)
            self._loaded[source, layer] = moment
            facts = {"tokens": tokens, "record": moment.record}
            write_tensors(self._matrix_path(content, layer), {"mom2": moment.matrix}, facts)

    @contextmanager
    def _locked(self, content: str) -> Iterator[None]:
        """One process at a time for one source; no lock where none can be made."""
        # Among the temporary files: the cache holds nothing but tensors, and may be read-only.
        lock = FileLock(Path(tempfile.gettempdir()) / f"editpitfalls-{self._path(content, 'lock').stem}.lock")
        try:
            lock.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _finish(self, source: MomentSource, content: str, layer: int, matrix: Tensor, tokens: int) -> SecondMoment:
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
        return SecondMoment(matrix, tokens, share * mean_eigenvalue, record, self._matrix_path(content, layer))

    def _documents(self, source: MomentSource, content: str, progress: ProgressCallback) -> Documents[Any]:
        host = self._forward.host
        limit = getattr(host.config, "max_position_embeddings", None) or 2048
        if source.kind == "sampled":
            return tokenised(self._sampled(source, content, min(SAMPLED_LENGTH, limit), progress))

        def tokenise(text: str) -> list[int]:
            return list(host.tokenizer(text)["input_ids"])

        if source.kind == "text":
            return Documents(lambda skip: text_lines(source, skip), count_lines(source), tokenise, limit)
        return Documents(lambda skip: dataset_texts(source, skip), dataset_size(source), tokenise, limit)

    def _sampled(self, source: MomentSource, content: str, length: int, progress: ProgressCallback) -> list[list[int]]:
        """Token ids of the model's own text, drawn where it neither is in the cache nor ships.

        It is kept, because drawing it takes most of the time and serves every layer.
        """
        host = self._forward.host
        wanted = source.tokens or TOKENS_PER_DIMENSION * max(
            host.matrix_shape(layer)[1] for layer in range(host.n_layers)
        )
        count = -(-wanted // length)
        path = self._path(content, "documents")
        for place in (self._shipped(content.removesuffix(SHIPPED)), path):
            found = read_tensors(place, torch.device("cpu"))
            ids = None if found is None else found[0].get("ids")
            if ids is not None and ids.shape == (count, length) and not ids.is_floating_point():
                documents: list[list[int]] = ids.tolist()
                return documents
        progress(Progress(SAMPLING, 0, wanted))
        documents = sampled_documents(
            host,
            wanted,
            length=length,
            seed=source.seed,
            on_tokens=lambda done: progress(Progress(SAMPLING, done, max(wanted, done))),
        )
        write_tensors(path, {"ids": torch.tensor(documents)}, {})
        return documents

    def _path(self, content: str, what: str) -> Path:
        key = json.dumps([self._fingerprint, content, what])
        return self._cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def _shipped(self, content: str) -> Path:
        """Where the text ships, if it does."""
        return self._texts / self._path(content, "documents").name

    def _matrix_path(self, content: str, layer: int) -> Path:
        return self._path(content, self._forward.host.down_projection_path(layer))

    def _partial_path(self, content: str, layers: Sequence[int]) -> Path:
        # Windows and batches are counted, so what they are cut by is part of the name.
        cut = json.dumps([WINDOW, self._max_tokens, list(layers)])
        return self._path(content, f"unfinished {cut}").with_suffix(".part")

    def _read(self, source: MomentSource, content: str, layer: int) -> SecondMoment | None:
        """The matrix in the cache; None where it is absent or damaged: it is computed and written again."""
        found = read_tensors(self._matrix_path(content, layer), self._forward.host.device)
        if found is None:
            return None
        matrix, tokens = found[0].get("mom2"), found[1].get("tokens")
        size = self._forward.host.matrix_shape(layer)[1]
        if matrix is None or matrix.shape != (size, size) or not isinstance(tokens, int) or tokens < 1:
            return None
        return self._finish(source, content, layer, matrix, tokens)


def _content_key(source: MomentSource, device: str) -> str:
    """What the numbers depend on: the file's content, not its name; the ridge is added after the cache."""
    parts: dict[str, Any] = {**asdict(source), "ridge": None, "format": 4}
    if source.kind in ("text", "npz"):
        parts["reference"] = digest_of(source)
    if source.kind == "sampled":
        # A CPU and a GPU draw different text from one seed.
        parts |= {"length": SAMPLED_LENGTH, "per_dimension": TOKENS_PER_DIMENSION, "device": device}
    return json.dumps(parts, sort_keys=True)
