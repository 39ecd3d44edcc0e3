"""A tiny Llama as a GGUF file, written with the gguf package: Q8_0 matrices, a byte-level tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from tiny_models import byte_level_tokenizer


def write_tiny_gguf(
    path: Path, *, tied: bool = True, seed: int = 0, blocks: int = 2, more: tuple[str, ...] = ()
) -> Path:
    """Write a random Llama of 2 blocks of width 32; returns ``path``.

    Args:
        blocks: number of blocks that the header tells.
        more: names of further vectors.
    """
    random = np.random.default_rng(seed)
    tokenizer = byte_level_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    hidden, inner, heads, kv_heads = 32, 96, 4, 2
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(blocks)
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = (random.standard_normal((rows, columns)) * 1.5 / columns**0.5).astype(np.float32)
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(name, (1 + 0.3 * random.standard_normal(hidden)).astype(np.float32))

    matrix("token_embd.weight", len(tokens), hidden)
    for block in range(2):
        norm(f"blk.{block}.attn_norm.weight")
        norm(f"blk.{block}.ffn_norm.weight")
        matrix(f"blk.{block}.attn_q.weight", hidden, hidden)
        matrix(f"blk.{block}.attn_k.weight", hidden * kv_heads // heads, hidden)
        matrix(f"blk.{block}.attn_v.weight", hidden * kv_heads // heads, hidden)
        matrix(f"blk.{block}.attn_output.weight", hidden, hidden)
        matrix(f"blk.{block}.ffn_gate.weight", inner, hidden)
        matrix(f"blk.{block}.ffn_up.weight", inner, hidden)
        matrix(f"blk.{block}.ffn_down.weight", hidden, inner)
    for name in ("output_norm.weight", *more):
        norm(name)
    if not tied:
        matrix("output.weight", len(tokens), hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
