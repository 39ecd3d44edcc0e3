"""Models whose weights are kept in 8 or 4 bits: saved so, or made so on loading, by transformers and a library."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError

from .placement import QUANTISED

if TYPE_CHECKING:
    import torch

METHODS = ("bitsandbytes", "torchao")
"""How a checkpoint may be quantised: each is transformers' ``quant_method`` and the package that is needed."""

INSTALL = 'pip install "pytest-editpitfalls[quantised]"'


def method_of(config: Any) -> str | None:
    """How the checkpoint of a config is quantised ("bitsandbytes", "gptq", ...); None where it is not."""
    found = _entry(config)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "an unnamed method")


def check_method(config: Any, where: str) -> None:
    """Refuse a quantised checkpoint whose weights cannot be read.

    Raises:
        UsageError: it is quantised by another library than `METHODS`, or that is not installed.
    """
    method = method_of(config)
    if method is None:
        return
    if method not in METHODS:
        raise UsageError(
            f"the checkpoint is quantised by {method}, whose weights cannot be read here",
            where=where,
            fix="use a checkpoint quantised by bitsandbytes or torchao, the unquantised one (with --pitfalls-dtype=nf4 "
            "or int8 it is quantised on loading), or a GGUF file, which is dequantised",
        )
    _check_installed(method, f"the checkpoint is quantised by {method}", where)


def check_quantising(config: Any, dtype: str | None, where: str) -> None:
    """Refuse to quantise or round what cannot be.

    Args:
        dtype: as typed.

    Raises:
        UsageError: ``dtype`` quantises or is "bf16-weights", and the checkpoint is quantised already; the library is
            not installed.
    """
    if dtype not in (*QUANTISED, BF16_WEIGHTS):
        return
    if (method := method_of(config)) is not None:
        raise UsageError(
            f"{where}: the checkpoint is quantised already, by {method}",
            where=f"--pitfalls-dtype={dtype}",
            fix="leave --pitfalls-dtype out",
        )
    check_library(dtype)


def check_library(dtype: str | None) -> None:
    """Raise `UsageError` where a dtype, as typed, quantises and its library is not installed."""
    if dtype in QUANTISED:
        library = QUANTISED[dtype].library
        _check_installed(library, f"'{dtype}' takes {library}", f"--pitfalls-dtype={dtype}")


def quantisation_config(dtype: str, computed_in: torch.dtype) -> Any:
    """What transformers is to be told; ``dtype`` is a name of `QUANTISED`."""
    if dtype == "nf4":
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computed_in)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def bits_of(config: Any, dtype: str | None) -> int | None:
    """About how many bits a quantised weight takes; None where none is quantised."""
    if dtype in QUANTISED:
        return QUANTISED[dtype].bits
    if method_of(config) is None:
        return None
    return 4 if "4" in _words(_entry(config)) else 8


def described(config: Any) -> str | None:
    """The quantisation in a few words ("bitsandbytes nf4"); None where there is none.

    Args:
        config: of transformers, or the content of a ``config.json``.
    """
    method = method_of(config)
    return None if method is None else f"{method} {_words(_entry(config))}".rstrip()


def _entry(config: Any) -> Any:
    if isinstance(config, dict):
        return config.get("quantization_config")
    return getattr(config, "quantization_config", None)


def _words(found: Any) -> str:
    values: dict[str, Any] = found if isinstance(found, dict) else found.to_dict()
    if values.get("load_in_8bit"):
        return "int8"
    if values.get("load_in_4bit"):
        double = " with double quantisation" if values.get("bnb_4bit_use_double_quant") else ""
        return f"{values.get('bnb_4bit_quant_type', 'fp4')}{double}"
    kind = values.get("quant_type")
    kind = kind.get("default", kind) if isinstance(kind, dict) else kind
    return str(kind.get("_type", "") if isinstance(kind, dict) else kind or "")


def _check_installed(library: str, what: str, where: str) -> None:
    if find_spec(library) is None:
        raise UsageError(f"{what}, which is not installed", where=where, fix=INSTALL)
