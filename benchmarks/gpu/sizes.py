"""How much is measured: of which shapes, how many cases, which editors and families."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.random_models import Shape

GPT2_XL = Shape("gpt2-xl", "gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25, "vocab_size": 50257})
LLAMA_3_8B = Shape(
    "llama-3-8b",
    "llama",
    {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "vocab_size": 128256,
    },
)
TINY = Shape("tiny", "gpt2", {"n_embd": 32, "n_layer": 4, "n_head": 4, "vocab_size": 4000}, vocabulary=4000)
TINY_GATED = Shape(
    "tiny-gated",
    "llama",
    {
        "hidden_size": 32,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 4000,
    },
    vocabulary=4000,
)


@dataclass(frozen=True)
class Sizes:
    """How much.

    Attributes:
        shapes: models whose shapes are measured; the first is the one that targets are about.
        reference: cases of today's way, at most.
        batches: fixed batch sizes; as many cases each.
        automatic: cases at the automatic batch size, at most.
        pairs: pairs of family and editor that are compared on both devices; None means all, as far as time allows.
    """

    shapes: tuple[Shape, ...]
    reference: int
    batches: tuple[int, ...]
    automatic: int
    pairs: int | None


SIZES = {
    "full": Sizes((GPT2_XL, LLAMA_3_8B), reference=3, batches=(32, 1), automatic=512, pairs=None),
    "quick": Sizes((GPT2_XL,), reference=1, batches=(32, 1), automatic=128, pairs=60),
    "tiny": Sizes((TINY, TINY_GATED), reference=2, batches=(8, 1), automatic=24, pairs=None),
    "tiny quick": Sizes((TINY, TINY_GATED), reference=1, batches=(4, 1), automatic=6, pairs=60),
}
"""By name. The tiny ones are a CPU's: the same path, on models that it can run."""


def sizes_of(device: str, quick: bool) -> str:
    """The key of `SIZES` that a device gets."""
    name = "tiny" if device == "cpu" else "full"
    return {"tiny": "tiny quick", "full": "quick"}[name] if quick else name
