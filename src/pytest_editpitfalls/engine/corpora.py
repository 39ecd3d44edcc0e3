"""Where a second moment comes from: the source, and the reading of text, data sets and published matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_editpitfalls.errors import UsageError


@dataclass(frozen=True)
class MomentSource:
    """Where C comes from.

    Attributes:
        kind: "sampled" (text of the model itself), "text" (a file), "datasets" (a hub id) or "npz" (published).
        reference: path or data set id; empty for "sampled".
        samples: documents used at most (text, datasets); None means all.
        tokens: tokens wanted (sampled); None means eight per dimension.
        ridge: multiple of C's mean eigenvalue added to its diagonal; None means automatic for "sampled", 0 otherwise.
        seed: seed of the sampled text.
    """

    kind: str = "sampled"
    reference: str = ""
    samples: int | None = None
    tokens: int | None = None
    ridge: float | None = None
    seed: int = 0


def digest_of(source: MomentSource) -> str:
    """SHA-256 of the source's file; raises `UsageError` where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(source.reference).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UsageError(
            f"cannot read the second-moment source: {error.strerror}",
            where=source.reference,
            fix="check the path",
        ) from error
    return digest.hexdigest()


def text_lines(source: MomentSource, skip: int = 0) -> Iterator[str]:
    """The lines of a text file that are not blank, ``samples`` of them at most, without the first ``skip``.

    Read one by one: the file may be larger than the memory. Raises `UsageError` if it is not UTF-8.
    """
    try:
        with Path(source.reference).open(encoding="utf-8") as file:
            lines = (line.removesuffix("\n") for line in file if line.strip())
            yield from islice(lines, skip, source.samples)
    except UnicodeDecodeError as error:
        raise UsageError("the corpus is not UTF-8 text", where=source.reference, fix="save it as UTF-8") from error


def count_lines(source: MomentSource) -> int:
    """How many lines `text_lines` yields; raises the same errors."""
    return sum(1 for _ in text_lines(source))


DATASET_SAMPLES = 100_000
"""Documents of a data set by default, as published (kmeng01/memit, hparams: mom2_n_samples)."""


def dataset_size(source: MomentSource) -> int:
    """How many texts `dataset_texts` yields at most."""
    return source.samples or DATASET_SAMPLES


def dataset_texts(source: MomentSource, skip: int = 0) -> Iterator[str]:
    """Texts of ``owner/name``, ``owner/name:config`` of the hub, streamed; needs the ``datasets`` extra.

    Args:
        source: the data set and how many of its texts.
        skip: number of texts to skip.

    Raises:
        UsageError: the package is missing, or the data set cannot be loaded.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UsageError(
            "second moments from a hub data set need the 'datasets' package",
            where=f"mom2_dataset = {source.reference}",
            fix='pip install "pytest-editpitfalls[datasets]", or give mom2_corpus = a text file',
        ) from error
    name, _, config = source.reference.partition(":")
    try:
        stream = load_dataset(name, config or None, split="train", streaming=True)
        if skip:
            stream = stream.skip(skip)
        for row in islice(stream, max(dataset_size(source) - skip, 0)):
            yield row["text"]
    except Exception as error:
        raise UsageError(
            f"cannot load the data set: {type(error).__name__}: {error}",
            where=f"mom2_dataset = {source.reference}",
            fix="check the id and the network, or give mom2_corpus = a text file",
        ) from error


def published_moment(source: MomentSource, layer: int, size: int) -> tuple[NDArray[np.float64], int]:
    """A published ``.npz`` of one layer, as ROME writes it: ``mom2.mom2`` sums k k^T over ``mom2.count`` tokens.

    Args:
        layer: the layer that it should belong to, for the message.
        size: d_k, the width of the down-projection's input.

    Returns:
        The sum (d_k, d_k) and the number of tokens.

    Raises:
        UsageError: the file has other contents or another shape, or is damaged.
    """
    where = source.reference
    try:
        with np.load(where, allow_pickle=False) as file:
            for name in ("mom2.mom2", "mom2.count"):
                packed = file.zip.getinfo(f"{name}.npy").file_size
                if packed > 16 * size**2 + 4096:  # before it is unpacked: a small file can hold a huge array
                    raise ValueError(f"'{name}' has {packed} bytes, layer {layer} needs a ({size}, {size}) matrix")
            total, count = np.asarray(file["mom2.mom2"], dtype=np.float64), int(file["mom2.count"])
    except Exception as error:  # zip and array readers trust the file: a damaged one can raise any exception
        raise UsageError(
            f"not a second-moment file: {error}",
            where=where,
            fix="give an .npz with the arrays 'mom2.mom2' and 'mom2.count', as ROME publishes them",
        ) from error
    if total.shape != (size, size) or count < 1 or not np.isfinite(total).all():
        raise UsageError(
            f"shape {total.shape}, {count} tokens; layer {layer} needs a finite ({size}, {size}) matrix",
            where=where,
            fix="use the file of this model and layer",
        )
    return total, count
