"""Models with a short name. Torch-free."""

from __future__ import annotations

EMBEDDED = "smollm2-135m"
"""The default model: fetched as one wheel from the package index, see `.embedded`."""

KNOWN_MODELS: dict[str, str] = {
    "bloom-560m": "bigscience/bloom-560m",
    "bloom-7b1": "bigscience/bloom-7b1",
    "distilgpt2": "distilbert/distilgpt2",
    "falcon-7b": "tiiuae/falcon-7b",
    "falcon-rw-1b": "tiiuae/falcon-rw-1b",
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-2-9b": "google/gemma-2-9b",
    "gemma-3-1b": "google/gemma-3-1b-pt",
    "gemma-3-4b": "google/gemma-3-4b-pt",
    "glm-4-9b-0414": "zai-org/GLM-4-9B-0414",
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "gpt-j-6b": "EleutherAI/gpt-j-6B",
    "gpt-neox-20b": "EleutherAI/gpt-neox-20b",
    "granite-3.3-2b": "ibm-granite/granite-3.3-2b-base",
    "llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-v0.1",
    "olmo-2-7b": "allenai/OLMo-2-1124-7B",
    "opt-125m": "facebook/opt-125m",
    "opt-350m": "facebook/opt-350m",
    "opt-1.3b": "facebook/opt-1.3b",
    "opt-6.7b": "facebook/opt-6.7b",
    "phi-3-mini": "microsoft/Phi-3-mini-4k-instruct",
    "pythia-160m": "EleutherAI/pythia-160m",
    "pythia-410m": "EleutherAI/pythia-410m",
    "pythia-1b": "EleutherAI/pythia-1b",
    "pythia-2.8b": "EleutherAI/pythia-2.8b",
    "pythia-6.9b": "EleutherAI/pythia-6.9b",
    "qwen2-7b": "Qwen/Qwen2-7B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B-Base",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "smollm2-360m": "HuggingFaceTB/SmolLM2-360M",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B",
    "smollm3-3b": "HuggingFaceTB/SmolLM3-3B",
    "starcoder2-7b": "bigcode/starcoder2-7b",
}
"""Short name to Hugging Face id."""

_ALIASES: dict[str, str] = {
    "gptj": "gpt-j-6b",
    "gpt-j": "gpt-j-6b",
    "gpt-neox": "gpt-neox-20b",
    "llama2-7b": "llama-2-7b",
    "llama3-8b": "llama-3-8b",
    "mistral-7b-v0.1": "mistral-7b",
    "smollm2": EMBEDDED,
    "smollm2-135m-instruct": EMBEDDED,
    "smollm2-135m-instruct.q4_1": EMBEDDED,
}

_SHORT_BY_ID = {hub_id.lower(): short for short, hub_id in KNOWN_MODELS.items()}


def known_names() -> list[str]:
    """Every short name that a user can write, the embedded model first."""
    return [EMBEDDED, *KNOWN_MODELS]


def short_name_of_id(hub_id: str) -> str | None:
    """Return the short name of exactly this Hugging Face id, or None; case does not matter."""
    return _SHORT_BY_ID.get(hub_id.lower())


def short_name_of(name: str) -> str | None:
    """Return the short name that ``name`` is another way of writing, or None.

    Args:
        name: a short name, an alias, a Hugging Face id or its last part, or a path; case does not matter.
    """
    lowered = name.rstrip("/").lower()
    if lowered in _SHORT_BY_ID:
        return _SHORT_BY_ID[lowered]
    last = lowered.replace("\\", "/").rpartition("/")[2].removesuffix(".gguf")
    last = _ALIASES.get(last, last)
    if last == EMBEDDED or last in KNOWN_MODELS:
        return last
    return next((short for hub_id, short in _SHORT_BY_ID.items() if hub_id.endswith(f"/{last}")), None)
