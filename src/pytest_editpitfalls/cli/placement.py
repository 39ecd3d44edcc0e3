"""Options of commands that run a model: checked before torch is imported."""

from __future__ import annotations

from typing import Annotated

import typer


def checked_device(name: str) -> str:
    """Return the name; raises `UsageError` where it is no device's."""
    from pytest_editpitfalls.engine.models.placement import check_device

    check_device(name, where="--device")
    return name


def checked_dtype(name: str | None) -> str | None:
    """Return the name; raises `UsageError` where it is no dtype's."""
    from pytest_editpitfalls.engine.models.placement import check_dtype

    if name is not None:
        check_dtype(name, where="--dtype")
    return name


def checked_model(name: str | None) -> str | None:
    """Return the name; raises `UsageError` where nothing is called so."""
    from pytest_editpitfalls.engine.models.source import resolve

    if name is not None:
        resolve(name, option="--model")
    return name


DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", callback=checked_device)]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bf16-weights, bfloat16, float16, float64 or tf32; int8 or nf4 quantise on loading.",
        callback=checked_dtype,
    ),
]
