"""Draw calibration.svg from calibration.jsonl: ``python docs/images/draw_calibration.py`` (needs the extra "plots").

calibration.jsonl holds one `CalibrationRecord` a line, as `editpitfalls calibrate` computes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
GROUPS = (
    ("0/1", "0/1 metrics", "#1f6feb", "o"),
    ("scale", "metrics on a scale", "#bf5700", "s"),
    ("lift", "lifts: -1, 0, 1", "#8b6b00", "v"),
    ("stored", "two stored runs", "#2da44e", "^"),
    ("family", "families, any gate (Holm)", "#8250df", "D"),
)
MISLEADING = {
    "4 % gain 0.9": ("x:", "made to mislead: 4 % of the cases gain 0.9"),
    "large ones fare better": ("+:", "made to mislead: one subject with 6 % of the cases fares better"),
}


def group(record: dict[str, Any]) -> str:
    """Which of the groups a record belongs to."""
    name = record["population"]
    return "family" if record["gates"] > 1 else name.split(",")[0].split(" ")[0]


def misleads(record: dict[str, Any]) -> str | None:
    """Which of the misleading populations a record belongs to."""
    return next((how for how in MISLEADING if how in record["population"]), None)


def main() -> None:
    """Draw both panels."""
    lines = (HERE / "calibration.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "calibration", "svg.fonttype": "path"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for offset, (key, label, colour, marker) in enumerate(GROUPS):
        for panel, share, error in (
            (left, "false_fails", "false_fails_error"),
            (right, "found", "found_error"),
        ):
            chosen = [r for r in records if group(r) == key and r[share] is not None and misleads(r) is None]
            panel.errorbar(
                [r["clusters"] * (1 + 0.035 * (offset - 1.5)) for r in chosen],
                [100 * r[share] for r in chosen],
                yerr=[200 * (r[error] or 0.0) for r in chosen],
                fmt=marker,
                markersize=4,
                linewidth=0.8,
                color=colour,
                alpha=0.75,
                label=label if chosen else None,
            )
    for how, (line, label) in MISLEADING.items():
        misled = [r for r in records if misleads(r) == how and "15 %" not in r["population"]]
        left.plot(
            [r["clusters"] for r in misled],
            [100 * r["false_fails"] for r in misled],
            line,
            color="#cf222e",
            label=label,
        )
    left.axhline(5, color="black", linewidth=1, linestyle="--")
    right.axhline(80, color="black", linewidth=1, linestyle="--")
    left.set(ylabel="runs with a false fail, %", title="true drop = margin: at most 5 %", ylim=(0, 32))
    right.set(
        ylabel="runs that fail, %",
        title="true drop = the size that is printed: at least 80 %",
        ylim=(50, 102),
    )
    for panel in (left, right):
        panel.set(xscale="log", xlabel="subjects (clusters)")
        panel.set_xticks([20, 40, 58, 100, 200, 400], ["20", "40", "58", "100", "200", "400"])
        panel.minorticks_off()
        panel.grid(axis="y", linewidth=0.4)
    left.legend(fontsize=7, loc="upper right")
    figure.savefig(HERE / "calibration.svg", metadata={"Date": None})
    figure.savefig(HERE / "calibration.png", dpi=120)


if __name__ == "__main__":
    main()
