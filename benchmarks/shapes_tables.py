"""The section of part ``shapes``, made of its figures."""

from __future__ import annotations

from typing import Any

from .tables import number, percent, table

_PRECISIONS = {"float32": "float32", "tf32": "TF32 products", "bfloat16": "model in bfloat16"}
_RATES = {"float32": "square_float32", "tf32": "square_tf32", "bfloat16": "square_bfloat16"}


def render(figures: dict[str, Any]) -> str:
    """Markdown from the heading (level 2) on."""
    parts = ["## Large shapes"]
    if "skipped" in figures:
        parts.append(f"Not run here: {figures['skipped']} (`python -m benchmarks shapes --device cuda`).")
        return "\n\n".join(parts) + "\n"
    rates = figures["matrix_gflop_per_second"]
    parts.append(
        "ROME on reverse cases, random models. Square matrix products reach "
        + ", ".join(f"{rates[key] / 1e3:,.0f} TFLOP/s in {name}" for name, key in _RATES.items() if key in rates)
        + " in the same run."
    )
    for name, own in figures["shapes"].items():
        parts.append(f"### {name} ({own['parameters'] / 1e9:.2f} billion parameters)")
        rows = [_row(precision, each, rates) for precision, each in own["precisions"].items()]
        parts.append(
            table(
                (
                    "precision",
                    "reference, s / case",
                    "ours, cases / s",
                    "ratio",
                    "2,500 cases, minutes",
                    "of the matrix rate",
                    "max difference of log p",
                ),
                rows,
            )
        )
        parts.append(_batch_sizes(own["precisions"]))
    return "\n\n".join(parts) + "\n"


def _row(precision: str, own: dict[str, Any], rates: dict[str, float]) -> list[str]:
    ours = own["automatic"]
    rate = rates.get(_RATES[precision])
    ratio = own.get("ratio")
    return [
        f"{_PRECISIONS[precision]} (batch {ours['batch']['cases']})",
        number(own.get("reference_seconds_per_case"), ".2f"),
        number(ours["cases_per_second"], ".2f"),
        number(ratio, ".1f", " x"),
        number(ours["suite_minutes"], ".1f"),
        percent(ours["gflop_per_second"] / rate if rate else None),
        number(own["difference_of_log_p"]["max"], ".1e"),
    ]


def _batch_sizes(precisions: dict[str, Any]) -> str:
    sizes = list(dict.fromkeys(size for own in precisions.values() for size in own["batch_sizes"]))
    rows = [
        [
            _PRECISIONS[precision],
            *(number(own["batch_sizes"][size]["cases_per_second"], ".2f") for size in sizes),
            number(own["automatic"]["cases_per_second"], ".2f"),
        ]
        for precision, own in precisions.items()
    ]
    return table(["cases / s by batch size", *sizes, "automatic"], rows)
