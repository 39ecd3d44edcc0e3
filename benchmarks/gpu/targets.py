"""What is aimed at on a GPU, and what was measured."""

from __future__ import annotations

from typing import Any

from .between_devices import BOUND
from .precisions import PRECISIONS
from .sizes import SIZES

SUITE_CASES = 2500
"""Cases of the benchmark's reverse suite, which is extrapolated to."""

FASTER, SUITE_MINUTES, SHARE = 50.0, 15.0, 0.40


def targets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each target: "target", "measured" (words), "met" (None where there is no figure)."""
    found = [_agreement(figures["steps"].get("agreement", {}).get("units", {}))]
    shape = SIZES[figures["sizes"]].shapes[0].name
    for editor in ("rome", "memit"):
        units = figures["steps"].get(f"{shape} {editor}", {}).get("units", {})
        found += _of_editor(editor, shape, units, figures["matrix_gflop_per_second"])
    if figures["rehearsal"]:  # nothing was aimed at for a CPU
        found[1:] = [each | {"met": None} for each in found[1:]]
    return found


def _agreement(units: dict[str, Any]) -> dict[str, Any]:
    compared = [each for each in units.values() if "max" in each]
    beyond = [each for each in compared if is_beyond(each)]
    failed = sum("error" in each for each in units.values())
    return {
        "target": f"CPU and GPU in float32: log p differs by {BOUND:g} at most",
        "measured": f"{max(each['max'] for each in compared):.1e} at most, {len(compared)} pairs"
        + (f", {len(beyond)} beyond" if beyond else "")
        + (f", {failed} failed" if failed else "")
        if compared
        else "no figure",
        "met": not beyond and not failed if compared else None,
    }


def is_beyond(found: dict[str, Any]) -> bool:
    """Whether a pair differs by more than the bound, and by more than three times what float32 itself costs it."""
    return bool(found.get("not_finite")) or found["max"] > max(BOUND, 3 * found.get("rounding", 0.0))


def _of_editor(editor: str, shape: str, units: dict[str, Any], rates: dict[str, float]) -> list[dict[str, Any]]:
    faster: dict[str, float] = {}
    minutes: dict[str, float] = {}
    shares: dict[str, float] = {}
    for precision in PRECISIONS:
        ours = units.get(f"{precision.name} automatic", {})
        if "seconds_per_case" not in ours:
            continue
        minutes[precision.words] = ours["seconds_per_case"] * SUITE_CASES / 60
        theirs = units.get(f"{precision.name} reference", {})
        if "seconds_per_case" in theirs:
            said = f"{precision.words}{' (extrapolated)' if 'extrapolated' in theirs else ''}"
            faster[said] = theirs["seconds_per_case"] / ours["seconds_per_case"]
        share = share_of_rate(units, precision.name, rates.get(precision.rate))
        if share is not None:
            shares[precision.words] = share
    tf32 = {words: share for words, share in shares.items() if "TF32" in words}
    return [
        _row(f"{editor}, {shape}: at least {FASTER:g} times as fast as today's way", faster, "{:.1f} x", max, FASTER),
        _row(
            f"{editor}, {shape}: {SUITE_CASES:,} reverse cases in under {SUITE_MINUTES:g} minutes (extrapolated)",
            minutes,
            "{:.1f} min",
            min,
            SUITE_MINUTES,
        ),
        _row(f"{editor}, {shape}: at least {SHARE:.0%} of the matrix rate in TF32", tf32, "{:.0%}", max, SHARE),
    ]


def share_of_rate(units: dict[str, Any], precision: str, rate: float | None) -> float | None:
    """Operations per second at the automatic batch size, over those of a large matrix product; None without both."""
    ours, counted = units.get(f"{precision} automatic", {}), units.get("operations", {})
    if not rate or "seconds_per_case" not in ours or "gflop_per_case" not in counted:
        return None
    return float(counted["gflop_per_case"] / ours["seconds_per_case"] / rate)


def _row(target: str, values: dict[str, float], form: str, best: Any, bound: float) -> dict[str, Any]:
    said = ", ".join(f"{form.format(value)} in {words}" for words, value in values.items())
    reached = best(values.values()) if values else None
    met = None if reached is None else bool(reached >= bound if best is max else reached < bound)
    return {"target": target, "measured": said or "no figure", "met": met}
