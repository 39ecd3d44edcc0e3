"""Measure how fast the plugin is, next to a reference that runs cases the way it is done today.

    python -m benchmarks [PART ...] [--quick] [--json PATH] [--markdown PATH] [--refresh-docs]

docs/performance.md explains the parts and the figures.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from pytest_editpitfalls.errors import PitfallsError, UsageError, did_you_mean

from .part import Asked, Measured

PARTS = {
    "editing": "the reference and ours on the same cases: time, operations, memory",
    "moments": "second moments: tokens per second against a bare forward pass",
    "generation": "answers of edited models, one at a time in place against one batch",
    "chain": "many edits one after another: time, memory, and what is left of them",
    "elsewhere": "editors of others, from their checkouts, beside ours: agreement, time",
    "busy": "a run beside processes that keep a core busy",
    "scale": "thousands of cases: memory, time, files, workers",
    "plugin": "the plugin itself: collecting, starting, reporting",
    "gpu": "everything about a GPU in seven minutes; only where it is named, or with --device cuda",
}
"""Name to what it measures, in the order in which they run. A part is the module of that name."""

ON_A_GPU = "gpu"
"""The part whose device is a GPU unless another one is named; the others' is the CPU."""

USAGE_ERROR = 4
"""pytest's own exit status for a wrong command line."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "\n".join(f"  {name:<11}{words}" for name, words in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="parts to measure (default: all but gpu)")
    parser.add_argument("--quick", action="store_true", help="few cases: faster, noisier, and of lower ratios")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything that was measured")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables")
    parser.add_argument("--against", type=Path, metavar="DIR", help="also time a checkout of the released code")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cpu; cuda for part 'gpu'")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="part 'gpu': seconds in all (default: 400)")
    parser.add_argument("--model", default="smollm2-135m", help="the model of part 'editing' (default: embedded)")
    parser.add_argument("--edits", type=int, metavar="N", help="edits of a chain in part 'chain' (default: 100)")
    parser.add_argument(
        "--checkouts", type=Path, metavar="DIR", help="part 'elsewhere': DIR/EasyEdit, DIR/rome, DIR/memit"
    )
    parser.add_argument("--kept", type=Path, metavar="DIR", help="part 'elsewhere': go on with what is measured in DIR")
    parser.add_argument("--refresh-docs", action="store_true", help="renew the tables of docs/performance.md")
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> list[str]:
    """The parts to run, in their order.

    Raises:
        UsageError: unknown part or model, no checkout where one should be, no such device, no place for a file.
    """
    for name in options.parts:
        if name not in PARTS:
            raise UsageError(f"'{name}' is no part", where="python -m benchmarks", fix=did_you_mean(name, PARTS))
    if options.against is not None and not options.against.is_dir():
        raise UsageError(
            "no such directory",
            where=f"--against {options.against}",
            fix="give the directory of a checkout of zjunlp/PitfallsKnowledgeEditing",
        )
    for option in ("checkouts", "kept"):
        path = getattr(options, option)
        if path is not None and not path.is_dir():
            raise UsageError("no such directory", where=f"--{option} {path}", fix="name one, or make it")
    if options.budget is not None and not 10 <= options.budget <= 86_400:
        raise UsageError(f"{options.budget:g} seconds", where="--budget", fix="give a number from 10 to 86,400")
    if options.edits is not None and not 1 <= options.edits <= 10_000:
        raise UsageError(f"{options.edits} edits", where="--edits", fix="give a number from 1 to 10,000")
    for option in ("json", "markdown"):
        path = getattr(options, option)
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(
                "no such directory",
                where=f"--{option} {path}",
                fix="make it first: a measurement takes too long to be lost at its end",
            )
    chosen = [name for name in PARTS if name in (options.parts or _usual(options.device))]
    if options.device is None:
        options.device = "cuda" if ON_A_GPU in chosen else "cpu"
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            rehearse = "; 'gpu --device cpu' runs its whole path on tiny models" if ON_A_GPU in chosen else ""
            raise UsageError(
                "torch sees no CUDA device",
                where="--device cuda" if ON_A_GPU not in chosen else f"part '{ON_A_GPU}'",
                fix=f"use --device cpu, or a machine with a GPU{rehearse}",
            )
    elif options.refresh_docs and ON_A_GPU in chosen:
        raise UsageError(
            f"what part '{ON_A_GPU}' finds on a CPU is a rehearsal, and does not belong on the page",
            where="--refresh-docs",
            fix="leave --refresh-docs out, or run on a machine with a GPU",
        )
    if "editing" in chosen:
        from pytest_editpitfalls.engine.models import resolve

        resolve(options.model)
    return chosen


def _usual(device: str | None) -> list[str]:
    """The parts where none is named."""
    return [name for name in PARTS if name != ON_A_GPU or device == "cuda"]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        run(options, check(options), console)
    except PitfallsError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def run(options: argparse.Namespace, parts: Sequence[str], console: Console) -> None:
    """Measure part by part; files are written after each, and by long parts after each of their steps."""
    from .document import Document

    asked = Asked(
        options.quick,
        options.device,
        options.model,
        options.against,
        options.edits,
        options.checkouts,
        options.kept,
        options.budget,
    )
    document = Document(asked)

    def keep(name: str, found: Measured) -> None:
        document.measured[name] = found
        if options.json is not None:
            document.write_json(options.json)
        if options.markdown is not None:
            document.write_markdown(options.markdown)

    for name in parts:
        console.print(f"[bold]{name}[/bold]: {PARTS[name]} ...", highlight=False)
        started = time.perf_counter()
        measure = importlib.import_module(f"{__package__}.{name}").measure
        found = measure(replace(asked, keep=partial(keep, name)))
        keep(name, found)
        console.print(Markdown(found.markdown))
        console.print(f"({name} took {time.perf_counter() - started:.0f} s)\n", highlight=False)
        if options.refresh_docs:
            document.refresh()
    ratios = document.data()["ratios"]
    if ratios:
        console.print("ratios: " + ", ".join(f"{name} {value:g}" for name, value in ratios.items()))


if __name__ == "__main__":
    raise SystemExit(main())
