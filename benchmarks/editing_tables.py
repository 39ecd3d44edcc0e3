"""The section of part ``editing``, made of its figures."""

from __future__ import annotations

from typing import Any

from .tables import number, percent, table
from .ways import AUTOMATIC, REFERENCE, SINGLE, WAYS

_HEADER = (
    "way",
    "s / case",
    "of it scoring",
    "GFLOP / case",
    "GFLOP/s",
    "of the matrix rate",
    "peak memory, MB",
    "of it above the loaded model, MB",
)


def render(figures: dict[str, Any]) -> str:
    """Markdown from the heading (level 2) on."""
    rates = figures["matrix_gflop_per_second"]
    parts = [
        "## Editing and scoring",
        f"Model `{figures['model']}` on {figures['device']}, {figures['threads']} thread(s), {figures['suite']} cases. "
        f"This machine multiplies large float32 matrices at {rates['square_float32']:,.0f} GFLOP/s, and a "
        f"48 x 576 by 576 x 1536 product at {rates['embedded_float32']:,.0f}.",
    ]
    for editor, own in figures["editors"].items():
        parts += [f"### {editor}", table(_HEADER, [_row(way, each) for way, each in own["ways"].items()])]
        parts.append(_ratios(own["ways"]))
        apart = own["difference_of_log_p"]
        parts.append(
            f"{_amounts(own['ways'])}; automatic batch: {own['batch']['cases']} cases ({own['batch']['why']}). "
            f"Largest difference of log-probability from the reference: {apart[AUTOMATIC]['max']:.1e} "
            f"(median {apart[AUTOMATIC]['median']:.1e}) of {apart[AUTOMATIC]['values']} probabilities."
        )
    if "released_code" in figures:
        parts += ["### The released code itself", _released(figures["released_code"])]
    return "\n\n".join(parts) + "\n"


def _amounts(ways: dict[str, Any]) -> str:
    """ "16 case(s) timed, 4 of them at batch 1; operations of the first 2"."""
    text = f"{ways[REFERENCE]['timed_cases']} case(s) timed, {ways[SINGLE]['timed_cases']} of them at batch 1"
    counted = ways[REFERENCE].get("counted_cases")
    return text if counted is None else f"{text}; operations of the first {counted}"


def _row(way: str, own: dict[str, Any]) -> list[str]:
    above = own["peak_mb"] - own["loaded_mb"] if "peak_mb" in own else None
    return [
        WAYS[way],
        number(own["seconds_per_case"], ".2f"),
        percent(own["scoring_share"]),
        number(own.get("gflop_per_case"), ",.0f"),
        number(own.get("gflop_per_second"), ",.0f"),
        percent(own.get("share_of_matrix_rate")),
        number(own.get("peak_mb"), ",.0f"),
        number(above, ",.0f"),
    ]


def _ratios(ways: dict[str, Any]) -> str:
    reference, ours = ways[REFERENCE], ways[AUTOMATIC]
    faster = reference["seconds_per_case"] / ours["seconds_per_case"]
    text = f"The reference over ours at the automatic batch size: **{faster:.1f} x** the time"
    if "gflop_per_case" in reference and "gflop_per_case" in ours:
        text += f", **{reference['gflop_per_case'] / ours['gflop_per_case']:.1f} x** the floating-point operations"
    return text + "."


def _released(own: dict[str, Any]) -> str:
    if "error" in own:
        return f"Not timed: {own['error']}."
    return (
        f"ROME of the checkout given with `--against` on {own['cases']} case(s): {own['seconds_per_case']:.2f} s per "
        f"case (editing {own['editing_seconds_per_case']:.2f}, scoring {own['scoring_seconds_per_case']:.2f}); the "
        f"reference on the same case(s), in turns: {own['reference_seconds_per_case']:.2f} s. Largest difference of "
        f"log-probability between the two: {own['difference_of_log_p']['max']:.1e}."
    )
