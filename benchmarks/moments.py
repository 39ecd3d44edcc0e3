"""Part ``moments``: second moments against a bare forward pass up to the same layer, and what their files save."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.moments import SecondMoment
from pytest_editpitfalls.engine.moments.collection import collect
from pytest_editpitfalls.engine.moments.documents import tokenised
from pytest_editpitfalls.engine.moments.partial import PartialFile
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, silent

from .machine import timed
from .part import Asked, Measured
from .tables import number, table

DOCUMENT_TOKENS = 512
"""Tokens of a measured document, where the context is that long."""

ARTICLES = 100_000
"""Documents of the published second moments (kmeng01/memit, hparams: mom2_n_samples)."""

ARTICLE_TOKENS = 700
"""Tokens of a Wikipedia article after it was cut at the context length, on average: what is extrapolated with. An
assumption, about 3,000 characters; twice as many tokens take twice as long."""

GPT2_XL_WIDTH = 6400
"""d_k of GPT2-XL."""


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        documents: documents of a pass.
        rounds: passes of each kind, in turn.
        widths: d_k of matrices that are factorised, besides the model's own.
    """

    documents: int
    rounds: int
    widths: tuple[int, ...]


FULL, QUICK, ON_GPU = Amount(12, 5, (GPT2_XL_WIDTH,)), Amount(3, 3, ()), Amount(256, 5, (GPT2_XL_WIDTH,))

CPU_TOKENS, GPU_TOKENS = 3072, 65536
"""Padded tokens of one forward pass, as a session sets them."""


def measure(asked: Asked) -> Measured:
    """Measure on the model that was asked for."""
    amount = ON_GPU if asked.device != "cpu" else QUICK if asked.quick else FULL
    session = EngineSession.open(EngineSettings(asked.model, device=asked.device))
    figures = measure_session(session, amount)
    ratios = {f"moments.{name}": figures["passes"][name]["overhead"] for name in ("one_layer", "five_layers")}
    return Measured(figures, render(figures), ratios)


def measure_session(session: EngineSession, amount: Amount) -> dict[str, Any]:
    """Figures of one model: passes, an extrapolation, and factorisations."""
    layers = [int(layer) for layer in session.describe("memit")["editor"]["hyperparameters"]["layers"]]
    d_k = session.host.matrix_shape(layers[-1])[1]
    passes = _passes(session.forward, layers, amount)
    rate = passes["five_layers"]["tokens_per_second"]
    return {
        "model": session.settings.model,
        "device": str(session.host.device),
        "dtype": str(session.host.dtype).removeprefix("torch."),
        "d_k": d_k,
        "layers": layers,
        "passes": passes,
        "extrapolated": {
            "documents": ARTICLES,
            "tokens_per_document": ARTICLE_TOKENS,
            "hours": round(ARTICLES * ARTICLE_TOKENS / rate / 3600, 2),
        },
        "factorisations": [_factorisation(width, session.host.device) for width in sorted({d_k, *amount.widths})],
    }


def _passes(forward: Forward, layers: Sequence[int], amount: Amount) -> dict[str, dict[str, float]]:
    """Tokens per second of a bare pass and of ours, in turn; overhead is the median of ours over bare by round."""
    host = forward.host
    generator = torch.Generator().manual_seed(0)
    context = getattr(host.model.config, "max_position_embeddings", None) or DOCUMENT_TOKENS
    size = (amount.documents, min(DOCUMENT_TOKENS, context))
    documents = torch.randint(host.model.config.vocab_size, size, generator=generator).tolist()
    max_tokens = CPU_TOKENS if host.device.type == "cpu" else GPU_TOKENS

    def bare() -> None:
        with torch.no_grad():
            for bucket in buckets([len(ids) for ids in documents], max_tokens=max_tokens):
                forward.blocks(Rows.pad([documents[i] for i in bucket], host.device), last=layers[-1] + 1)

    def ours(wanted: Sequence[int]) -> None:
        sizes = {layer: host.matrix_shape(layer)[1] for layer in wanted}
        with tempfile.TemporaryDirectory() as directory:
            file = PartialFile(Path(directory) / "sums.part", sizes, host.device)
            collect(
                forward,
                tokenised(documents),
                wanted,
                max_tokens=max_tokens,
                file=file,
                progress=silent,
            )

    ways: dict[str, Callable[[], None]] = {
        "bare": bare,
        "one_layer": lambda: ours(layers[-1:]),
        "five_layers": lambda: ours(layers),
    }
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(amount.rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way, str(host.device))[0])
    tokens = size[0] * size[1]
    return {
        name: {
            "tokens_per_second": round(tokens / statistics.median(own), 1),
            "overhead": round(statistics.median(a / b for a, b in zip(own, seconds["bare"], strict=True)), 3),
        }
        for name, own in seconds.items()
    }


def _factorisation(width: int, device: torch.device) -> dict[str, float]:
    """Seconds until the first solve with a random C: factor computed and written, and read by the next process."""
    keys = torch.randn(width + width // 4, width, generator=torch.Generator().manual_seed(0))
    matrix = (keys.T @ keys).double().to(device) / len(keys)
    one = torch.ones(1, width, dtype=torch.float64, device=device)
    record = {"module": "random", "source": {"kind": "random", "reference": ""}}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "matrix.safetensors"

        def solved(path: Path | None) -> float:
            moment = SecondMoment(matrix, len(keys), 0.0, record, path)
            return timed(lambda: moment.solve(one), str(device))[0]

        solved(None)
        computed = solved(None)
        written = solved(file)
        read = statistics.median(solved(file) for _ in range(3))
    return {
        "d_k": width,
        "cholesky_seconds": round(computed, 4),
        "cholesky_and_write_seconds": round(written, 4),
        "read_seconds": round(read, 4),
    }


NAMES = {
    "bare": "forward pass up to the layer, nothing else",
    "one_layer": "second moment of that layer",
    "five_layers": "second moments of all of MEMIT's layers",
}


def render(figures: dict[str, Any]) -> str:
    """The section of the document."""
    passes, extrapolated = figures["passes"], figures["extrapolated"]
    rows = [
        [NAMES[name], number(own["tokens_per_second"], ",.0f"), number(own["overhead"], ".2f")]
        for name, own in passes.items()
    ]
    factors = [
        [
            f"{own['d_k']:,}",
            number(own["cholesky_seconds"], ".3f"),
            number(own["cholesky_and_write_seconds"], ".3f"),
            number(own["read_seconds"], ".3f"),
        ]
        for own in figures["factorisations"]
    ]
    layers = ", ".join(map(str, figures["layers"]))
    return "\n\n".join(
        [
            "## Second moments",
            f"{figures['model']} in {figures['dtype']} on {figures['device']}, layers {layers}, "
            f"d_k = {figures['d_k']:,}. The ways take turns on the same documents; the last column is the median of "
            "time over that of the bare pass.",
            table(["way", "tokens/s", "over bare"], rows),
            f"{extrapolated['documents']:,} Wikipedia articles of {extrapolated['tokens_per_document']} tokens each "
            f"(assumed), at the rate of all layers: {number(extrapolated['hours'], '.1f')} hours. A pass that is "
            "stopped goes on where it was.",
            "Seconds to the first solve of a process, with the matrix in memory:",
            table(["d_k", "factorised", "factorised and written", "factor read"], factors),
        ]
    )
