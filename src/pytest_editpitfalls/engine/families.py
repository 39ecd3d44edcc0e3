"""Where each architecture keeps its layers: the families that ship, one row per ``config.model_type``, and the lookup.

docs/families.md says how a row is written; other packages add theirs through an entry point. What is worth knowing
about a family stands above its row. Unless it says otherwise, a down-projection's input is (rows, tokens, d_k) and its
output (rows, tokens, d_o); where gate and up are two matrices, the input is act(gate) * up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.registry import Registry, origin_of

ENTRY_POINT_GROUP = "pytest_editpitfalls.families"


@dataclass(frozen=True, slots=True)
class Family:
    """Module paths of one architecture, as names inside the Hugging Face model.

    Attributes:
        name: the family's name in lists and messages ("llama").
        model_types: values of ``config.model_type`` that it serves.
        blocks: path of the list of transformer blocks, from the model ("model.layers").
        mlp: path of the MLP inside a block; empty where the block holds the projections itself (OPT).
        down_projection: path of the MLP's down-projection inside a block ("mlp.down_proj"). Its input is the
            *key* and its output (bias included) the *value* (Meng et al. 2022, arXiv 2202.05262). Empty where the MLP
            is a mixture of experts, each of which has its own.
        attention_output: path of the attention's output projection inside a block.
        up_projections: paths of the MLP's input-side matrices inside a block: one, or gate and up. MEND edits them
            with the down-projection; an editor that needs them refuses a family without.
        norm_after_mlp: whether a norm stands between the down-projection and the next block (Gemma 2,
            Gemma 3, post-norm OPT). ROME's target vector then sits before that norm.
        mlp_factor: what a block multiplies its MLP's output by before it adds it to the residual stream (Granite).
        origin: where the declaration is from; empty for the families that ship. `family_for` sets it.
    """

    name: str
    model_types: tuple[str, ...]
    blocks: str
    mlp: str
    down_projection: str
    attention_output: str
    up_projections: tuple[str, ...] = ()
    norm_after_mlp: bool = False
    mlp_factor: float = 1.0
    origin: str = field(default="", compare=False)

    @property
    def mixture(self) -> bool:
        """Whether the MLP is a mixture of experts, in which there is no one down-projection."""
        return not self.down_projection


FamilyDeclaration = Family | Callable[[Any], Family]
"""A family, or a function that makes it from the model's config where the config decides (OPT)."""

# Llama 2 and 3, SmolLM2 and everything else of this model type: gated MLP, rotary positions, no biases (``mlp_bias`` in
# the config gives the projections some).
LLAMA = Family(
    name="llama",
    model_types=("llama",),
    blocks="model.layers",
    mlp="mlp",
    down_projection="mlp.down_proj",
    attention_output="self_attn.o_proj",
    up_projections=("mlp.gate_proj", "mlp.up_proj"),
)


# Each token goes to a few of a block's experts. Their matrices are slices of two tensors: no module holds one alone.
MIXTURE = replace(LLAMA, name="mixtral", model_types=("mixtral",), down_projection="", up_projections=())


def _like_llama(name: str, **differences: Any) -> Family:
    return replace(LLAMA, **{"name": name, "model_types": (name,), **differences})


def opt(config: Any) -> Family:
    """OPT: the block itself holds the MLP's two projections; there is no MLP module.

    The block flattens its hidden states before them: row i, token t of the down-projection's input (rows * tokens, d_k)
    and output is at i * tokens + t. With ``do_layer_norm_before=False`` (OPT-350M) ``final_layer_norm`` is applied to
    the residual stream after the down-projection's output was added to it. Where ``word_embed_proj_dim`` differs from
    the hidden size, the decoder projects the last block's output before the head.
    """
    return Family(
        name="opt",
        model_types=("opt",),
        blocks="model.decoder.layers",
        mlp="",
        down_projection="fc2",
        attention_output="self_attn.out_proj",
        up_projections=("fc1",),
        norm_after_mlp=not config.do_layer_norm_before,
    )


def granite(config: Any) -> Family:
    """Granite: a block multiplies what its attention and its MLP give it before it adds it to the residual stream."""
    return _like_llama("granite", mlp_factor=float(getattr(config, "residual_multiplier", 1.0)))


def multimodal(config: Any, *, inner: str | None = None) -> Family:
    """A model that takes images or video, too: it is edited and asked as the language model that it holds.

    The whole model is run, with text alone; so its answers are its own.

    Args:
        config: of the whole model; its ``text_config`` is the language model's.
        inner: model type that the language model is declared under; by default its own.
    """
    text = config.text_config
    family = family_for(text) if inner is None else _made(families().get(inner), text)
    _, _, blocks = family.blocks.partition(".")
    name = str(config.model_type)
    return replace(family, name=name, model_types=(name,), blocks=f"model.language_model.{blocks}")


FAMILIES: dict[str, FamilyDeclaration] = {
    # ``Conv1D`` stores W transposed, as (d_k, d_o). The head is tied to the token embedding; positions are learned, so
    # a row cannot be longer than ``n_positions`` tokens.
    "gpt2": Family(
        name="gpt2",
        model_types=("gpt2",),
        blocks="transformer.h",
        mlp="mlp",
        down_projection="mlp.c_proj",
        attention_output="attn.c_proj",
        up_projections=("mlp.c_fc",),
    ),
    # Attention and MLP run in parallel on one norm's output; the head has a bias of its own. Blocks return a tuple
    # (hidden states, attention weights), also when no attention weights are asked for.
    "gptj": Family(
        name="gptj",
        model_types=("gptj",),
        blocks="transformer.h",
        mlp="mlp",
        down_projection="mlp.fc_out",
        attention_output="attn.out_proj",
        up_projections=("mlp.fc_in",),
    ),
    # And Pythia. Attention and MLP run in parallel (``use_parallel_residual``), each with its own norm.
    "gpt_neox": Family(
        name="gpt_neox",
        model_types=("gpt_neox",),
        blocks="gpt_neox.layers",
        mlp="mlp",
        down_projection="mlp.dense_4h_to_h",
        attention_output="attention.dense",
        up_projections=("mlp.dense_h_to_4h",),
    ),
    "llama": LLAMA,
    # A sliding attention window in every layer where ``sliding_window`` is set.
    "mistral": _like_llama("mistral"),
    # And Qwen2.5. Biases on queries, keys and values; layers may slide.
    "qwen2": _like_llama("qwen2"),
    # Dense models only. Norms on queries and keys; layers may slide.
    "qwen3": _like_llama("qwen3"),
    # Norms before and after attention and MLP (``post_feedforward_layernorm``), soft caps, every other layer slides.
    "gemma2": _like_llama("gemma2", norm_after_mlp=True),
    # Norms as in Gemma 2, no soft caps, most layers slide.
    "gemma3_text": _like_llama("gemma3", model_types=("gemma3_text",), norm_after_mlp=True),
    # Norms only after attention and MLP, and on queries and keys.
    "olmo2": _like_llama("olmo2", norm_after_mlp=True),
    "granite": granite,
    # GLM-4-9B. Gate and up are one fused matrix; rotary positions on half of each head.
    "glm": _like_llama("glm", up_projections=("mlp.gate_up_proj",)),
    # GLM-4-0414: GLM with norms after attention and MLP besides (``post_mlp_layernorm``).
    "glm4": _like_llama("glm4", up_projections=("mlp.gate_up_proj",), norm_after_mlp=True),
    # Every fourth layer has no positions at all (``no_rope_layers``); layers may slide.
    "smollm3": _like_llama("smollm3"),
    # One input-side matrix; biases everywhere; a sliding window.
    "starcoder2": _like_llama("starcoder2", down_projection="mlp.c_proj", up_projections=("mlp.c_fc",)),
    # A norm on the embeddings, ALiBi: positions are read off the attention mask, position ids are ignored. The MLP is
    # called with the residual stream, which it adds itself. Blocks return a tuple.
    "bloom": Family(
        name="bloom",
        model_types=("bloom",),
        blocks="transformer.h",
        mlp="mlp",
        down_projection="mlp.dense_4h_to_h",
        attention_output="self_attention.dense",
        up_projections=("mlp.dense_h_to_4h",),
    ),
    # Gate and up are one fused matrix; so are queries, keys and values.
    "phi3": _like_llama("phi3", up_projections=("mlp.gate_up_proj",)),
    "opt": opt,
    # 7B (parallel attention), 40B (new decoder architecture, two norms), RW (serial, ALiBi: positions are read off the
    # attention mask, position ids are ignored). The block adds the attention's output to the down-projection's output
    # *in place*: a hook that keeps the output must copy it. Blocks return a tuple.
    "falcon": Family(
        name="falcon",
        model_types=("falcon",),
        blocks="transformer.h",
        mlp="mlp",
        down_projection="mlp.dense_4h_to_h",
        attention_output="self_attention.dense",
        up_projections=("mlp.dense_h_to_4h",),
    ),
    "mixtral": MIXTURE,
    # Blocks in ``mlp_only_layers``, or between two ``decoder_sparse_step``, have one plain MLP instead.
    "qwen3_moe": replace(MIXTURE, name="qwen3_moe", model_types=("qwen3_moe",)),
    # Gemma 3 with images, LLaVA and its kin with any language model of this table inside, Mistral Small 3.1, Qwen-VL.
    "gemma3": multimodal,
    "internvl": multimodal,
    "llava": multimodal,
    "llava_next": multimodal,
    "llava_onevision": multimodal,
    "mistral3": multimodal,
    "qwen2_vl": partial(multimodal, inner="qwen2"),
    "qwen2_5_vl": partial(multimodal, inner="qwen2"),
    "qwen3_vl": partial(multimodal, inner="qwen3"),
}
"""By ``config.model_type``: a family, or a function of the config where the config decides."""


@cache
def families() -> Registry[FamilyDeclaration]:
    """Declarations by ``config.model_type``: the built-in ones and those of installed packages, which go first.

    Raises:
        UsageError: two packages declare the same model type.
    """
    entries: dict[str, FamilyDeclaration | str] = dict(FAMILIES)
    return Registry("model type", entries | {name: point.value for name, point in _declared_elsewhere().items()})


@cache
def _declared_elsewhere() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            raise UsageError(
                f"model type '{point.name}' is declared twice",
                where=f"{origin_of(known)} and {origin_of(point)}",
                fix="uninstall one of the two, or take the entry point out of one",
            )
    return found


def family_for(config: Any) -> Family:
    """Return the family of a Hugging Face config.

    Args:
        config: the model's config; its ``model_type`` picks the declaration.

    Raises:
        UsageError: no declaration serves this model type, or the one that does cannot be read.
    """
    registry = families()
    model_type = str(getattr(config, "model_type", "") or "?")
    if model_type not in registry:
        raise UsageError(
            f"architecture '{model_type}' is not known (known model types: {', '.join(sorted(registry))})",
            fix="write a declaration of a few lines for it: docs/families.md, 'How a declaration is written'",
        )
    point = _declared_elsewhere().get(model_type)
    origin = origin_of(point) if point else ""
    where = f"model type '{model_type}'" + (f", declared by {origin}" if origin else "")
    declaration = registry.get(model_type, where=where)
    try:
        family = _made(declaration, config)
    except UsageError:
        raise
    except Exception as error:  # a package's function of the config may raise anything
        raise UsageError(
            f"the declaration cannot read this config: {type(error).__name__}: {error}",
            where=where,
            fix="correct the function, or the model's config.json",
        ) from error
    if not isinstance(family, Family):
        raise UsageError(
            f"the declaration gives a {type(family).__name__}, not a Family",
            where=where,
            fix="docs/families.md shows how a declaration is written",
        )
    return replace(family, origin=origin) if origin else family


def experts_width(config: Any) -> int:
    """How many numbers a mixture of experts makes of a token, in all experts that the token goes to."""
    one = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
    return int(one) * int(getattr(config, "num_experts_per_tok", 1))


def _made(declaration: FamilyDeclaration, config: Any) -> Family:
    return declaration(config) if callable(declaration) else declaration
