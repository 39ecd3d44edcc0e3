"""Tiny random models of every family, with tokenizers built in place: no network, milliseconds to make.

Random weights are scaled up and norms and biases are randomised, so that a forgotten norm, bias, window or
soft cap changes the logits visibly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from pytest_editpitfalls.engine.families import FAMILIES

_TEXT = """
The capital of France is Paris. The capital of Japan is Tokyo. The capital of Italy is Rome.
The author of the book is a writer from England. The mother of the king is the queen of Spain.
Danielle Darrieux speaks French, and her neighbour speaks Russian.
The official language of Brazil is Portuguese.
According to the latest report, the company was founded in London by two brothers.
In the news today, the president of the United States met the chancellor of Germany in Berlin.
The truth is that nobody in the village knew where the river begins.
Because of the rain, the game was stopped.
He is married to her, and she is married to him.
One, two, three, four, five, six, seven, eight, nine, ten.
"""

_END = "<|endoftext|>"
_SPECIAL = ("<unk>", "<s>", "</s>")


@cache
def _byte_level() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT.strip().splitlines(), trainer)
    return tokenizer.to_str()


@cache
def _metaspace() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    # "first": a text that stands alone gets a leading space of its own, as in Llama 2's SentencePiece model.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*_SPECIAL, *byte_tokens], show_progress=False)
    tokenizer.train_from_iterator(_TEXT.strip().splitlines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    # The trainer reserved ids for the byte tokens by taking them as special; byte fallback wants plain ones.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in _SPECIAL]
    return json.dumps(state)


def byte_level_tokenizer(*, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer as GPT-2's, where a leading space belongs to the word; OPT's adds a BOS."""
    tokenizer = Tokenizer.from_str(_byte_level())
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{_END} $A",
            pair=f"{_END} $A {_END} $B",
            special_tokens=[(_END, tokenizer.token_to_id(_END))],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_END, eos_token=_END, unk_token=_END)


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as Llama 2's: adds the BOS ``<s>`` and a space before a text that stands alone."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_metaspace()),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


@dataclass(frozen=True)
class _Tiny:
    """How one family is made small.

    Attributes:
        model_type: the config class's.
        sizes: the language model's sizes as a function of depth and width.
        extra: more of the language model's config.
        images: what a model that takes images, too, has besides its language model; None for text-only models.
    """

    model_type: str
    sizes: Callable[[int, int], dict[str, Any]]
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    extra: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] | None = None


def _gpt(layers: int, hidden: int) -> dict[str, Any]:
    return {"n_embd": hidden, "n_layer": layers, "n_head": 4, "n_positions": 256}


def _neox(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    }


def _gated(layers: int, hidden: int) -> dict[str, Any]:
    return {**_neox(layers, hidden), "num_key_value_heads": 2, "head_dim": hidden // 4}


def _phi3(layers: int, hidden: int) -> dict[str, Any]:
    sizes = _gated(layers, hidden)
    del sizes["head_dim"]
    return {**sizes, "original_max_position_embeddings": 256}


def _gemma(layers: int, hidden: int) -> dict[str, Any]:
    return {**_gated(layers, hidden), "query_pre_attn_scalar": hidden // 4}


def _opt(layers: int, hidden: int) -> dict[str, Any]:
    return {**_neox(layers, hidden), "ffn_dim": 3 * hidden, "word_embed_proj_dim": hidden}


def _opt_350m(layers: int, hidden: int) -> dict[str, Any]:
    return {**_opt(layers, hidden), "word_embed_proj_dim": hidden // 2, "do_layer_norm_before": False}


def _bloom(layers: int, hidden: int) -> dict[str, Any]:
    return {"hidden_size": hidden, "n_layer": layers, "n_head": 4}


def _experts(layers: int, hidden: int) -> dict[str, Any]:
    return {**_gated(layers, hidden), "num_local_experts": 5, "num_experts_per_tok": 2}


def _small_experts(layers: int, hidden: int) -> dict[str, Any]:
    return {**_experts(layers, hidden), "moe_intermediate_size": hidden}


_with_bos = partial(byte_level_tokenizer, bos=True)
_slides = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}

_eye = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_squares = {**_eye, "image_size": [28, 28], "patch_size": [14, 14]}
_qwen_eye = {
    "depth": 1,
    "embed_dim": 16,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 14,
    "fullatt_block_indexes": [0],
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 16,
}
_mrope = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}


def _eye_of(model_type: str) -> dict[str, Any]:
    return {"vision_config": {"model_type": model_type, **_eye}, "image_token_index": 1}


TINY: dict[str, _Tiny] = {
    "gpt2": _Tiny("gpt2", _gpt, byte_level_tokenizer),
    "gptj": _Tiny("gptj", _gpt, byte_level_tokenizer, {"rotary_dim": 4}),
    "gpt_neox": _Tiny("gpt_neox", _neox, byte_level_tokenizer),
    "gpt_neox_serial": _Tiny("gpt_neox", _neox, byte_level_tokenizer, {"use_parallel_residual": False}),
    "llama": _Tiny("llama", _gated, metaspace_tokenizer, {"mlp_bias": True}),
    "mistral": _Tiny("mistral", _gated, metaspace_tokenizer, {"sliding_window": 6}),
    "qwen2": _Tiny("qwen2", _gated, byte_level_tokenizer, _slides),
    "qwen3": _Tiny("qwen3", _gated, byte_level_tokenizer),
    "gemma2": _Tiny(
        "gemma2",
        _gemma,
        metaspace_tokenizer,
        {"sliding_window": 6, "attn_logit_softcapping": 1.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": _Tiny("gemma3_text", _gemma, metaspace_tokenizer, {"sliding_window": 6, "sliding_window_pattern": 3}),
    "phi3": _Tiny("phi3", _phi3, metaspace_tokenizer),
    "opt": _Tiny("opt", _opt, _with_bos),
    "opt_post_norm": _Tiny("opt", _opt_350m, _with_bos),
    "olmo2": _Tiny("olmo2", _gated, byte_level_tokenizer),
    "granite": _Tiny(
        "granite",
        _gated,
        byte_level_tokenizer,
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.7,
            "logits_scaling": 0.5,
            "mlp_bias": True,
        },
    ),
    "glm": _Tiny("glm", _gated, byte_level_tokenizer),
    "glm4": _Tiny("glm4", _gated, byte_level_tokenizer, {"attention_bias": True}),
    "smollm3": _Tiny("smollm3", _gated, byte_level_tokenizer, {"no_rope_layers": [1, 0, 1, 1] * 2} | _slides),
    "starcoder2": _Tiny("starcoder2", _gated, byte_level_tokenizer, {"sliding_window": 6}),
    "bloom": _Tiny("bloom", _bloom, byte_level_tokenizer),
    "mixtral": _Tiny("mixtral", _experts, metaspace_tokenizer, {"sliding_window": 6}),
    "qwen3_moe": _Tiny("qwen3_moe", _small_experts, byte_level_tokenizer, {"norm_topk_prob": True}),
    "qwen3_moe_mixed": _Tiny("qwen3_moe", _small_experts, byte_level_tokenizer, {"mlp_only_layers": [1]}),
    "falcon": _Tiny("falcon", _neox, byte_level_tokenizer),
    "falcon_new": _Tiny("falcon", _neox, byte_level_tokenizer, {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_alibi": _Tiny(
        "falcon",
        _neox,
        byte_level_tokenizer,
        {"alibi": True, "parallel_attn": False, "multi_query": False, "bias": True},
    ),
    "gemma3_images": _Tiny(
        "gemma3",
        _gemma,
        metaspace_tokenizer,
        {"sliding_window": 6, "sliding_window_pattern": 3, "model_type": "gemma3_text"},
        {"vision_config": _eye},
    ),
    "llava": _Tiny("llava", _gated, metaspace_tokenizer, {"model_type": "llama"}, _eye_of("clip_vision_model")),
    "llava_of_gpt_neox": _Tiny(
        "llava", _neox, byte_level_tokenizer, {"model_type": "gpt_neox"}, _eye_of("clip_vision_model")
    ),
    "llava_next": _Tiny(
        "llava_next",
        _gated,
        metaspace_tokenizer,
        {"model_type": "mistral", "sliding_window": 6},
        _eye_of("clip_vision_model"),
    ),
    "llava_onevision": _Tiny(
        "llava_onevision", _gated, byte_level_tokenizer, {"model_type": "qwen2"}, _eye_of("siglip_vision_model")
    ),
    "internvl": _Tiny("internvl", _gated, byte_level_tokenizer, {"model_type": "qwen3"}, {"vision_config": _squares}),
    "mistral3": _Tiny("mistral3", _gated, metaspace_tokenizer, {"model_type": "mistral"}, _eye_of("pixtral")),
    "qwen2_vl": _Tiny("qwen2_vl", _gated, byte_level_tokenizer, _mrope, {"vision_config": _qwen_eye}),
    "qwen2_5_vl": _Tiny("qwen2_5_vl", _gated, byte_level_tokenizer, _mrope, {"vision_config": _qwen_eye}),
    "qwen3_vl": _Tiny("qwen3_vl", _gated, byte_level_tokenizer, _mrope, {"vision_config": _qwen_eye}),
}
"""Every family and variant that `tiny_model` makes; a row of the families' table that is not here is made gated."""

TINY |= {
    model_type: _Tiny(model_type, _gated, byte_level_tokenizer)
    for model_type in FAMILIES.keys() - {tiny.model_type for tiny in TINY.values()}
}


def _randomise(model: PreTrainedModel, seed: int) -> None:
    """Weights of unit gain, wide embeddings, norms and biases away from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if id(parameter) in embeddings:
                value = 0.5 * noise
            elif parameter.ndim > 1:
                value = 1.5 * noise / parameter.shape[1] ** 0.5
            elif name.endswith("bias"):
                value = 0.2 * noise
            else:
                value = parameter.double() + 0.3 * noise
            parameter.copy_(value)


def tiny_model(
    family_name: str,
    *,
    layers: int = 4,
    hidden: int = 32,
    seed: int = 0,
    tie: bool | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random model in evaluation mode and its tokenizer.

    Args:
        family_name: a key of `TINY`: a family or a variant of one ("opt_post_norm", "falcon_alibi").
        layers: number of blocks.
        hidden: width of the residual stream, a multiple of 8.
        seed: seed of the weights.
        tie: whether the head is tied to the token embedding; None keeps the family's own default.
        dtype: dtype of the weights; the float32 weights are the float64 ones, rounded.
    """
    tiny = TINY[family_name]
    tokenizer = tiny.tokenizer()
    arguments = {**tiny.sizes(layers, hidden), **tiny.extra}
    if tie is not None:
        arguments["tie_word_embeddings"] = tie
    arguments |= {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    if tiny.images is None:
        config, kind = AutoConfig.for_model(tiny.model_type, **arguments), AutoModelForCausalLM
    else:
        config = AutoConfig.for_model(tiny.model_type, text_config=arguments, **tiny.images)
        kind = AutoModelForImageTextToText
    text = config.get_text_config(decoder=True)
    made = (text.num_hidden_layers, text.hidden_size)
    assert made == (layers, hidden), f"{made}: say in TINY by which names {type(config).__name__} knows its sizes"
    model = kind.from_config(config, dtype=dtype).eval()
    if "num_experts_per_tok" in arguments and dtype == torch.float64:
        model.set_experts_implementation("eager")  # the default multiplies in single precision at most
    _randomise(model, seed)
    return model, tokenizer


def save_tiny(directory: Path, family: str, **options: Any) -> Path:
    """Write a tiny model with its tokenizer as a checkpoint directory, for ``--model=DIR``; returns it."""
    model, tokenizer = tiny_model(family, **options)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
