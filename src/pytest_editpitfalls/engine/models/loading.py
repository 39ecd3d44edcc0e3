"""From a `ModelSource` to a model and its tokenizer, refusing early and clearly what cannot work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.families import Family, family_for
from pytest_editpitfalls.engine.quiet import without_bars
from pytest_editpitfalls.errors import UsageError, did_you_mean

from .adapters import Adapter, merge
from .embedded import GGUF_SHA256, embedded_gguf
from .fingerprint import checkpoint_state, note_origin
from .gguf import converted_directory, converted_name, first_line
from .heads import auto_class
from .hub import cached_copy, elsewhere, not_here, refuse_hub_adapter, unreachable
from .known import known_names
from .loading_report import check_report
from .placement import MemoryEstimate, estimate, resolve_device, resolve_dtype
from .safety import check_config, check_directory, pickled
from .source import ModelSource, hub_directory, resolve
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
    place = resolve_device(device)
    return _estimate(source, config, family_for(config), resolve_dtype(dtype, place, config.dtype), place)


def load_config(source: ModelSource) -> PretrainedConfig:
    """Return the config of a causal language model that the engine can work with.

    Raises:
        UsageError: it cannot be fetched or read, is quantised, is an encoder-decoder or has no head for the
            next token.
    """
    with _explained(source):  # the checks, too: a config may hold anything
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
    if getattr(config, "quantization_config", None) is not None:
        raise UsageError(
            "the checkpoint is quantised, and editors need its weights as plain matrices",
            where=where,
            fix="use the unquantised checkpoint, or a GGUF file, which is dequantised",
        )
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
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: a name of `placement.DTYPES`; None means float32 on a CPU, the checkpoint's own on a GPU.
        announce: called with one line about an adapter that was merged, or weights that are not used.

    Raises:
        UsageError: the model cannot be fetched, does not fit, is of an unknown architecture, is not what its checkpoint
            says (`check_report`), or has no fast tokenizer or one that does not fit.
    """
    place = resolve_device(device)
    config = load_config(source)
    dtype_there = resolve_dtype(dtype, place, config.dtype)
    refuse_unless_it_fits(source, config, dtype_there, place)
    state = _state(source)
    tokenizer = load_tokenizer(source)
    model = load_weights(source, config, dtype_there, announce)
    if source.adapter is not None:
        merge_adapter(model, source, source.adapter, announce)
    check_tokenizer(tokenizer, config, model.get_input_embeddings().weight.shape[0], f"model '{source.name}'")
    note_origin(model, state, _state(source))
    model.requires_grad_(False)
    return model.eval().to(place), tokenizer


def load_tokenizer(source: ModelSource) -> Any:
    """Load a model's tokenizer alone, or the one that was saved with its adapter.

    Raises:
        UsageError: it cannot be fetched, or is not a fast one.
    """
    from transformers import AutoTokenizer

    with _explained(source, "its tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(_tokenizer_place(source), **_options(source))
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"the tokenizer {type(tokenizer).__name__} cannot map tokens to characters",
            where=f"model '{source.name}'",
            fix="save a fast tokenizer (tokenizer.json) beside the model",
        )
    return tokenizer


def refuse_unless_it_fits(source: ModelSource, config: PretrainedConfig, dtype: torch.dtype, place: Any) -> None:
    """Raise `UsageError` where there is too little memory for the model's weights and what editors keep."""
    memory = _estimate(source, config, family_for(config), dtype, place)
    if not memory.fits:
        raise UsageError(
            f"the model does not fit: {memory}",
            where=f"model '{source.name}'",
            fix="use a smaller model, a device with more memory, or --pitfalls-dtype=bfloat16",
        )


def load_weights(
    source: ModelSource,
    config: PretrainedConfig,
    dtype: torch.dtype,
    announce: Callable[[str], None] | None = None,
) -> PreTrainedModel:
    """Return a model on the CPU, without its adapter.

    Args:
        config: from `load_config`.
        announce: called with one line about weights that are not used.

    Raises:
        UsageError: the model cannot be read, or is not what its checkpoint says (`check_report`).
    """
    with _explained(source):
        loaded: Any = auto_class(config, source.name).from_pretrained(
            _place(source),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # in the report, and refused with their names
            use_safetensors=True,
            # Where peft is installed, transformers would apply an adapter by itself: it finds none in this folder.
            adapter_kwargs={"subfolder": "no-adapter"},
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
    with _explained(source, "its adapter"):
        merge(model, adapter, announce)


def check_finite(model: Any, source: ModelSource, where: str | None = None) -> None:
    """Refuse NaN and infinity in a weight, since every score would be one, too: one pass, as fast as memory is read.

    Args:
        where: for the message, where the weight is not from the file of ``source`` that has its name.

    Raises:
        UsageError: a weight has NaN or infinity in it; names the weight and its file.
    """
    import torch

    for name, weight in model.named_parameters():
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


def _estimate(source: ModelSource, config: PretrainedConfig, family: Family, dtype: Any, device: Any) -> MemoryEstimate:
    import torch

    from pytest_editpitfalls.engine.declared_paths import check_paths
    from pytest_editpitfalls.engine.matrices import matrix_shape

    make: Any = auto_class(config, source.name).from_config
    with _explained(source), torch.device("meta"):
        skeleton = make(config, trust_remote_code=source.allow_remote_code)
        skeleton.tie_weights()
    check_paths(skeleton, family)
    d_k = 0  # of experts no second moments are taken
    if not family.mixture:
        d_k = matrix_shape(skeleton.get_submodule(f"{family.blocks}.0.{family.down_projection}"))[1]
    return estimate(source.short_name, skeleton, d_k, dtype, device)


@contextmanager
def _quiet(source: ModelSource) -> Iterator[None]:
    """Loading without warnings and progress bars between pytest's lines; downloads keep their bars."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with nullcontext() if source.kind == "hub" else without_bars():
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _explained(source: ModelSource, part: str = "it") -> Iterator[None]:
    """Turn what transformers, safetensors and the hub raise into one message; of a damaged file that is any type."""
    try:
        with _quiet(source):
            yield
    except UsageError:
        raise
    except Exception as error:
        raise _usage_error(error, source, part) from error


def _usage_error(error: BaseException, source: ModelSource, part: str) -> UsageError:
    where = f"model '{source.name}'"
    if "trust_remote_code" in str(error):
        return UsageError(
            "the model needs code from its repository, which is not run",
            where=where,
            fix="use a model whose architecture transformers knows itself",
        )
    if "use_safetensors=True" in str(error) and source.hub_id is not None:
        return pickled(where, source.hub_id)
    if "does not recognize this architecture" in str(error):
        return UsageError(
            f"transformers does not know its architecture: {first_line(error)}",
            where=where,
            fix="install a newer transformers, then declare its family: docs/families.md",
        )
    if source.kind != "hub":
        return UsageError(
            f"{part} cannot be loaded: {first_line(error)}",
            where=where,
            fix="give a directory that save_pretrained has written, with the tokenizer's files in it",
        )
    causes = _cause_names(error)
    what, fix = f"{part} cannot be loaded: {first_line(error)}", "check the id; " + elsewhere(source)
    if "GatedRepoError" in causes:
        what = f"access to '{source.hub_id}' is restricted"
        fix = "accept its licence on its Hugging Face page and log in with 'hf auth login'"
    elif "RepositoryNotFoundError" in causes:
        what = f"Hugging Face has no public model '{source.hub_id}'"
        fix = did_you_mean((source.hub_id or "").rpartition("/")[2], known_names())
    elif "RevisionNotFoundError" in causes:
        what, fix = f"'{source.hub_id}' has no revision '{source.revision}'", "check the part after '@'"
    elif causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout"}:
        return not_here(source, unreachable() or "Hugging Face cannot be reached")
    return UsageError(what, where=where, fix=fix)


def _cause_names(error: BaseException | None) -> set[str]:
    names: set[str] = set()
    while error is not None:
        names.update(kind.__name__ for kind in type(error).__mro__)
        error = error.__cause__ or error.__context__
    return names
