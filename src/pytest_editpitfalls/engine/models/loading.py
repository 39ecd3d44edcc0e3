"""From a `ModelSource` to a model and its tokenizer, refusing early and clearly what cannot work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError

from .adapters import Adapter, merge
from .embedded import GGUF_SHA256, embedded_gguf
from .explained import explained
from .fingerprint import checkpoint_state, note_origin
from .gguf import converted_directory, converted_name
from .heads import auto_class
from .hub import cached_copy, refuse_hub_adapter
from .loading_report import check_report
from .placement import QUANTISED, MemoryEstimate, estimate, resolve_device, resolve_dtype
from .quantising import bits_of, check_method, check_quantising, quantisation_config
from .safety import check_config, check_directory
from .source import ModelSource, hub_directory, resolve
from .spreading import device_map, free_for_weights, several_gpus, spread
from .tokenizer_check import check_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


def prepare(source: ModelSource, announce: Callable[[str], None] | None = None) -> Path | None:
    """Fetch and convert what has to be; return the checkpoint directory, None where transformers asks the hub.

    Args:
        source: from `resolve`.
        announce: called with one line before work that takes long.

    Raises:
        UsageError: the model cannot be fetched or converted.
    """
    if source.kind == "embedded":
        converted = converted_name(source.cache, GGUF_SHA256)
        if converted.is_dir():
            return converted
        return converted_directory(embedded_gguf(source.cache, announce), source.cache, announce)
    if source.kind == "gguf":
        assert source.path is not None
        return converted_directory(source.path, source.cache, announce)
    if source.kind == "hub":
        return cached_copy(source, announce)
    return source.path


def check_available(name: str) -> None:
    """Refuse at once what can be refused without torch, whose import takes seconds.

    Raises:
        UsageError: as `resolve`; or a Hugging Face model that is not here and cannot be fetched.
    """
    source = resolve(name)
    if source.kind == "hub":
        cached_copy(source)


def memory_estimate(source: ModelSource, dtype: str | None = None, device: str = "auto") -> MemoryEstimate:
    """Return what the model takes, from its config alone: no weight is read.

    Raises:
        UsageError: as `load`, but for the memory itself.
    """
    config = load_config(source)
    return _estimate(source, config, resolve_dtype(dtype, resolve_device(device), config.dtype), device, dtype)


def load_config(source: ModelSource) -> PretrainedConfig:
    """Return the config of a causal language model that the engine can work with.

    Raises:
        UsageError: it cannot be fetched or read, is quantised in a way that cannot be read, is an encoder-decoder or
            has no head for the next token.
    """
    with explained(source):  # the checks, too: a config may hold anything
        return _checked_config(source)


def _checked_config(source: ModelSource) -> PretrainedConfig:
    from transformers import AutoConfig

    where = f"model '{source.name}'"
    if source.path is not None and source.kind == "directory":
        check_directory(source.path, where)
    if source.kind == "hub":
        refuse_hub_adapter(source)
    config: PretrainedConfig = AutoConfig.from_pretrained(_place(source), **_options(source))
    check_config(config, where, source.hub_id or source.name)
    check_method(config, where)
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(
            f"'{config.model_type}' is an encoder-decoder model",
            where=where,
            fix="use a causal (decoder-only) language model",
        )
    auto_class(config, where)
    return config


def load(
    source: ModelSource,
    device: str = "auto",
    dtype: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load model and tokenizer, in evaluation mode and without gradients on the weights.

    Args:
        source: from `resolve`.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" is several GPUs where the model does not fit on the first.
        dtype: a name of `placement.DTYPES`; None means float32 on a CPU, the checkpoint's own on a GPU.
        announce: called with one line about an adapter that was merged, or weights that are not used.

    Raises:
        UsageError: the model cannot be fetched, does not fit, is of an unknown architecture, is not what its checkpoint
            says (`check_report`), or has no fast tokenizer or one that does not fit.
    """
    place = resolve_device(device)
    config = load_config(source)
    check_quantising(config, dtype, f"model '{source.name}'")
    dtype_there = resolve_dtype(dtype, place, config.dtype)
    memory = refuse_unless_it_fits(source, config, dtype_there, device, dtype)
    if source.adapter is not None and memory.bits is not None:
        raise _adapter_on_quantised(source, dtype)
    state = _state(source)
    tokenizer = load_tokenizer(source)
    adapters = [] if source.adapter is None else [source.adapter]
    quantised = quantisation_config(dtype, dtype_there) if dtype in QUANTISED else None
    bf16_weights = dtype == BF16_WEIGHTS
    model = load_merged(source, config, dtype_there, adapters, announce, bf16_weights=bf16_weights, quantised=quantised)
    if memory.bits is not None:
        _multiply_quantised(model, source, dtype)
    check_tokenizer(tokenizer, config, model.get_input_embeddings().weight.shape[0], f"model '{source.name}'")
    note_origin(model, state, _state(source))
    model.requires_grad_(False)
    model.eval()
    return (spread(model, memory.places) if memory.places else model.to(place)), tokenizer


def _multiply_quantised(model: PreTrainedModel, source: ModelSource, dtype: str | None) -> None:
    from pytest_editpitfalls.engine.quantised import multiply_exactly

    if not multiply_exactly(model):
        raise UsageError(
            f"nothing of {type(model).__name__} was quantised: its projections are no nn.Linear",
            where=f"model '{source.name}'",
            fix="leave --pitfalls-dtype out" if dtype in QUANTISED else "use the unquantised checkpoint",
        )


def _adapter_on_quantised(source: ModelSource, dtype: str | None) -> UsageError:
    return UsageError(
        "a LoRA adapter cannot be merged into quantised weights",
        where=f"model '{source.name}'",
        fix="leave --pitfalls-dtype out"
        if dtype in QUANTISED
        else "merge the adapter into the unquantised model, and quantise the result (--pitfalls-dtype=nf4 or int8)",
    )


def load_tokenizer(source: ModelSource) -> Any:
    """Load a model's tokenizer alone, or the one that was saved with its adapter.

    Raises:
        UsageError: it cannot be fetched, or is not a fast one.
    """
    from transformers import AutoTokenizer

    with explained(source, "its tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(_tokenizer_place(source), **_options(source))
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"the tokenizer {type(tokenizer).__name__} cannot map tokens to characters",
            where=f"model '{source.name}'",
            fix="save a fast tokenizer (tokenizer.json) beside the model",
        )
    return tokenizer


def refuse_unless_it_fits(
    source: ModelSource, config: PretrainedConfig, dtype: torch.dtype, device: str, asked: str | None = None
) -> MemoryEstimate:
    """Raise `UsageError` where there is too little memory for the model's weights and what editors keep.

    Args:
        dtype: of what is computed, and of weights that are not quantised.
        device: as in `load`.
        asked: the dtype as typed: it may quantise.
    """
    memory = _estimate(source, config, dtype, device, asked)
    if not memory.fits:
        raise UsageError(
            f"the model does not fit: {memory}",
            where=f"model '{source.name}'",
            fix=f"{_more_room(device)}use a smaller model, a device with more memory, or --pitfalls-dtype=bfloat16, "
            "int8 or nf4",
        )
    return memory


def _more_room(device: str) -> str:
    """What several GPUs would help, where this process uses one."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return ""
    if several_gpus():
        return "" if device == "auto" else "--pitfalls-device=auto spreads it over all GPUs; otherwise "
    return "take fewer workers (-n) than there are GPUs: each has several, and spreads the model over them; otherwise "


def load_merged(
    source: ModelSource,
    config: PretrainedConfig,
    dtype: torch.dtype,
    adapters: Sequence[Adapter],
    announce: Callable[[str], None] | None = None,
    *,
    bf16_weights: bool = False,
    quantised: Any = None,
) -> PreTrainedModel:
    """Return a model on the CPU with adapters merged into it, one after another; raises as `load_weights` and `merge`.

    Args:
        bf16_weights: whether ``dtype`` is that of its matrices alone, and all else is float32.
        quantised: as in `load_weights`.
    """
    import torch

    # What the file has in full reaches what stays in float32, and a matrix is rounded once.
    read_as = torch.float32 if bf16_weights and (adapters or config.dtype != dtype) else dtype
    model = load_weights(source, config, read_as, announce, quantised)
    for adapter in adapters:
        merge_adapter(model, source, adapter, announce)
    if bf16_weights:
        from pytest_editpitfalls.engine.bf16_weights import keep_matrices_in_bf16

        model.requires_grad_(False)
        keep_matrices_in_bf16(model, family_for(config).blocks)
    return model


def load_weights(
    source: ModelSource,
    config: PretrainedConfig,
    dtype: torch.dtype,
    announce: Callable[[str], None] | None = None,
    quantised: Any = None,
) -> PreTrainedModel:
    """Return a model on the CPU, without its adapter.

    Args:
        config: from `load_config`.
        announce: called with one line about weights that are not used.
        quantised: from `quantisation_config`, where the weights are to be quantised.

    Raises:
        UsageError: the model cannot be read, or is not what its checkpoint says (`check_report`).
    """
    with explained(source):
        loaded: Any = auto_class(config, source.name).from_pretrained(
            _place(source),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # in the report, and refused with their names
            use_safetensors=True,
            # Where peft is installed, transformers would apply an adapter by itself: it finds none in this folder.
            adapter_kwargs={"subfolder": "no-adapter"},
            **({} if quantised is None else {"quantization_config": quantised}),
            **_options(source),
        )
    model, report = loaded
    check_report(report, model.state_dict(), family_for(config), f"model '{source.name}'", announce)
    weights: PreTrainedModel = model
    return weights


def merge_adapter(
    model: PreTrainedModel, source: ModelSource, adapter: Adapter, announce: Callable[[str], None] | None = None
) -> None:
    """Merge an adapter into a model of `load_weights`; raises `UsageError` as `merge`."""
    with explained(source, "its adapter"):
        merge(model, adapter, announce)


def check_finite(model: Any, source: ModelSource, where: str | None = None) -> None:
    """Refuse NaN and infinity in a weight, since every score would be one, too: one pass, as fast as memory is read.

    Args:
        where: for the message, where the weight is not from the file of ``source`` that has its name.

    Raises:
        UsageError: a weight has NaN or infinity in it; names the weight and its file.
    """
    import torch

    from pytest_editpitfalls.engine.quantised import plain

    for name, parameter in model.named_parameters():
        weight = plain(parameter)
        if weight.numel() and not all(math.isfinite(edge) for edge in torch.aminmax(weight)):
            bad = weight.numel() - int(weight.isfinite().sum())
            raise UsageError(
                f"the weight '{name}' has {bad} of {weight.numel()} numbers that are NaN or infinite in "
                f"{str(weight.dtype).removeprefix('torch.')}",
                where=where or _file_of(name, source),
                fix="fetch or convert the checkpoint again; "
                "if it is intact, its numbers need a wider --pitfalls-dtype (float32, bfloat16)",
            )


def _file_of(name: str, source: ModelSource) -> str:
    """The file that the weight is read from, where the checkpoint's own names tell it."""
    from safetensors import safe_open

    directory = prepare(source)
    for path in sorted(directory.glob("*.safetensors")) if directory else ():
        with safe_open(path, framework="pt") as file:
            # Checkpoints of a bare transformer lack the model's prefix.
            if any(name == key or name.endswith(f".{key}") for key in file.keys()):  # noqa: SIM118
                return str(path)
    return f"model '{source.name}'"


def _state(source: ModelSource) -> str | None:
    directories = [prepare(source) or hub_directory(source)]
    if source.adapter is not None:
        directories.append(source.adapter.directory)
    return checkpoint_state(directory for directory in directories if directory is not None)


def _place(source: ModelSource) -> str:
    return str(prepare(source) or source.hub_id)


def _tokenizer_place(source: ModelSource) -> str:
    """The tokenizer that was saved with the adapter, where there is one: training may have added tokens."""
    if source.adapter is not None:
        directory = source.adapter.directory
        if (directory / "tokenizer.json").is_file() or (directory / "tokenizer_config.json").is_file():
            return str(directory)
    return _place(source)


def _options(source: ModelSource) -> dict[str, Any]:
    options: dict[str, Any] = {"trust_remote_code": source.allow_remote_code}
    if source.revision is not None:
        options["revision"] = source.revision
    return options


def _estimate(
    source: ModelSource, config: PretrainedConfig, dtype: Any, device: str, asked: str | None
) -> MemoryEstimate:
    import torch

    from pytest_editpitfalls.engine.declared_paths import check_paths
    from pytest_editpitfalls.engine.matrices import matrix_shape

    family, place = family_for(config), resolve_device(device)
    make: Any = auto_class(config, source.name).from_config
    with explained(source), torch.device("meta"):
        skeleton = make(config, trust_remote_code=source.allow_remote_code)
        skeleton.tie_weights()
    check_paths(skeleton, family)
    d_k = 0  # of experts no second moments are taken
    if not family.mixture:
        d_k = matrix_shape(skeleton.get_submodule(f"{family.blocks}.0.{family.down_projection}"))[1]
    if asked == BF16_WEIGHTS and config.dtype != torch.float32 and (source.adapter or config.dtype != dtype):
        dtype = torch.float32  # what is read before it is rounded; a file of float32 is mapped
    memory = estimate(source.short_name, skeleton, d_k, dtype, place, bits_of(config, asked))
    gpus = several_gpus() if device == "auto" and not memory.fits else ()
    if not gpus:
        return memory
    free = free_for_weights(gpus, memory.moment_bytes)
    share = memory.weights_bytes / max(1, memory.parameters * dtype.itemsize)
    places = device_map(skeleton, family.blocks, dtype, gpus, [int(each / share) for each in free])
    return replace(
        memory, device=f"{len(gpus)} GPUs ({gpus[0]} to {gpus[-1]})", available_bytes=sum(free), places=places or {}
    )
