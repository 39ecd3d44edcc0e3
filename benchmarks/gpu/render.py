"""The section of part ``gpu``: Markdown of its figures, whatever there is of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.tables import number, percent, table

from .between_devices import BOUND
from .precisions import PRECISIONS
from .targets import SUITE_CASES, is_beyond, share_of_rate

_MET = {True: "yes", False: "**no**", None: "-"}


def render(figures: dict[str, Any]) -> str:
    """From the heading (level 2) on."""
    parts = ["## A rehearsal of part gpu" if figures["rehearsal"] else "## Measured on a GPU"]
    if figures["rehearsal"]:
        parts.append("**On the CPU, with tiny models: it shows that the path works. No figure here is a GPU's.**")
    rates = figures["matrix_gflop_per_second"]
    words = {each.rate: each.words for each in reversed(PRECISIONS)}
    said = ", ".join(f"{rates[rate]:,.0f} GFLOP/s ({words[rate]})" for rate in words if rate in rates)
    parts.append(f"Square matrix products of this run: {said}. {figures['budget_seconds']:g} s for everything.")
    for name, own in figures["steps"].items():
        parts += [f"### {own['title'][0].upper()}{own['title'][1:]}", _state(own)]
        if own["units"]:
            body = {"agreement": _agreement, "tests": _tests}.get(name)
            parts += body(own["units"]) if body is not None else _shape(own["units"], rates)
        parts += _errors(own["units"])
    rows = [[each["target"], each["measured"], _MET[each["met"]]] for each in figures["targets"]]
    parts += ["### Targets", _texts(["target", "measured", "met"], rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _state(own: dict[str, Any]) -> str:
    if own["state"] == "not begun":
        return "Not begun: no time was left."
    took = f" in {own['seconds']:.0f} s" if "seconds" in own else ""
    limit = f" of {own['limit_seconds']:.0f} s" if "limit_seconds" in own else ""
    return f"{own['state'][0].upper()}{own['state'][1:]}{took}{limit}."


def _agreement(units: dict[str, Any]) -> list[str]:
    """By editor and by family: pairs, the largest and the median difference."""
    compared = {name: own for name, own in units.items() if "max" in own}
    refused = sum("refused" in own for own in units.values())
    parts = [
        f"Difference of log p between the two, float32 on both sides, tiny random models: {len(compared)} pairs of "
        f"family and editor compared, {refused} refused alike on both sides. The bound is {BOUND:g}; a pair lies "
        "beyond it where float32 itself, held against float64, is not as far off."
    ]
    for place, what in ((1, "editor"), (0, "family")):
        groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for name, own in compared.items():
            groups[name.split(" ")[place]].append(own)
        rows = [
            [
                f"`{group}`",
                str(len(found)),
                f"{statistics.median(each['median'] for each in found):.1e}",
                f"{max(each['max'] for each in found):.1e}",
                str(sum(map(is_beyond, found))),
            ]
            for group, found in groups.items()
        ]
        parts.append(table([what, "pairs", "median", "max", "beyond"], rows) if rows else "")
    return parts


def _tests(units: dict[str, Any]) -> list[str]:
    own = units.get("pytest", {})
    counts = [f"{own[name]} {name}" for name in ("passed", "failed", "error", "skipped") if own.get(name)]
    said = f"{', '.join(counts) or 'none'}" + (f"; cut short {own['cut_short']}" if "cut_short" in own else "")
    names = "".join(f"\n- `{name}`" for name in own.get("not_passed", ()))
    return [f"{said}.{chr(10) if names else ''}{names}"] if "exit_status" in own else []


def _shape(units: dict[str, Any], rates: dict[str, float]) -> list[str]:
    parts = []
    if "parameters" in units.get("model", {}):
        own = units["model"]
        parts.append(f"{own['parameters'] / 1e9:.2f} billion random parameters, made in {own['seconds']:g} s.")
    sizes = list(dict.fromkeys(name.split(" batch ")[1] for name in units if " batch " in name))
    header = ["precision", "today, s / case", *(f"cases / s, batch {size}" for size in reversed(sizes))]
    header += [
        "automatic",
        "faster",
        f"{SUITE_CASES:,} cases, min",
        "of the matrix rate",
        "peak, GB",
        "max diff. of log p",
    ]
    rows = [row for each in PRECISIONS if (row := _row(each, units, sizes, rates)) is not None]
    parts.append(table(header, rows) if rows else "")
    parts += [_counted(units), _waits(units.get("synchronisations", {}))]
    return parts


def _row(precision: Any, units: dict[str, Any], sizes: list[str], rates: dict[str, float]) -> list[str] | None:
    name = precision.name
    if not any(unit.startswith(f"{name} ") for unit in units):
        return None
    ours, theirs = units.get(f"{name} automatic", {}), units.get(f"{name} reference", {})
    seconds, today = ours.get("seconds_per_case"), theirs.get("seconds_per_case")
    batch = f" (batch {ours['batch']['cases']}, {ours['cases']} cases)" if "batch" in ours else ""
    batch += ", not warmed up" if "not_warmed_up" in ours else ""
    return [
        f"{precision.words}{batch}",
        number(today, ".3f") + (" (extrapolated)" if "extrapolated" in theirs else ""),
        *(number(units.get(f"{name} batch {size}", {}).get("cases_per_second"), ".2f") for size in reversed(sizes)),
        number(ours.get("cases_per_second"), ".2f"),
        number(today / seconds if today and seconds else None, ".1f", " x"),
        number(seconds * SUITE_CASES / 60 if seconds else None, ".1f"),
        percent(share_of_rate(units, name, rates.get(precision.rate))),
        number(ours["peak_mb"] / 1e3 if "peak_mb" in ours else None, ".1f"),
        number(ours.get("difference_of_log_p", {}).get("max"), ".1e"),
    ]


def _counted(units: dict[str, Any]) -> str:
    own = units.get("operations", {})
    if "gflop_per_case" not in own:
        return ""
    return f"{own['gflop_per_case']:,.1f} GFLOP a case, counted on {own['cases']} cases."


def _waits(own: dict[str, Any]) -> str:
    if "steps" not in own:
        return ""
    if own["total"] is None:
        return f"Synchronisations: {own['why']} ({own['steps']} optimisation steps)."
    where = ", ".join(f"`{place}` {count}" for place, count in own["where"].items())
    return (
        f"Synchronisations: {own['total']} in {own['steps']} optimisation steps, {number(own['per_step'], '.1f')} a "
        f"step. Most wait at {where or 'no line'}."
    )


def _errors(units: dict[str, Any]) -> list[str]:
    rows = [[f"`{name}`", own["error"]] for name, own in units.items() if "error" in own]
    return [_texts(["failed", "why"], rows)] if rows else []


def _texts(header: list[str], rows: list[list[str]]) -> str:
    """A table of words."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
