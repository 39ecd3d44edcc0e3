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
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from pytest_editpitfalls.errors import PitfallsError, UsageError, did_you_mean

from .part import Asked

PARTS = {
    "editing": "the reference and ours on the same cases: time, operations, memory",
    "shapes": "the same on random models of large shapes, on a GPU",
    "moments": "second moments: tokens per second against a bare forward pass",
    "generation": "answers of edited models, one at a time in place against one batch",
    "chain": "many edits one after another: time, memory, and what is left of them",
    "elsewhere": "editors of others, from their checkouts, beside ours: agreement, time",
    "plugin": "the plugin itself: collecting, starting, reporting",
}
"""Name to what it measures, in the order in which they run. A part is the module of that name."""

USAGE_ERROR = 4
"""pytest's own exit status for a wrong command line."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "\n".join(f"  {name:<11}{words}" for name, words in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="parts to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="few cases: ends within five minutes on two cores")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything that was measured")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables")
    parser.add_argument("--against", type=Path, metavar="DIR", help="also time a checkout of the released code")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
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
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(
                "torch sees no CUDA device",
                where="--device cuda",
                fix="use --device cpu, or a machine with a GPU",
            )
    chosen = [name for name in PARTS if name in options.parts or not options.parts]
    if "editing" in chosen:
        from pytest_editpitfalls.engine.models import resolve

        resolve(options.model)
    return chosen


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
    """Measure part by part; files are written after each, so that a run that is broken off leaves what it has."""
    from .document import Document

    asked = Asked(
        options.quick,
        options.device,
        options.model,
        options.against,
        options.edits,
        options.checkouts,
        options.kept,
    )
    document = Document(asked)
    for name in parts:
        console.print(f"[bold]{name}[/bold]: {PARTS[name]} ...", highlight=False)
        started = time.perf_counter()
        document.measured[name] = importlib.import_module(f"{__package__}.{name}").measure(asked)
        console.print(Markdown(document.measured[name].markdown))
        console.print(f"({name} took {time.perf_counter() - started:.0f} s)\n", highlight=False)
        if options.json is not None:
            document.write_json(options.json)
        if options.markdown is not None:
            document.write_markdown(options.markdown)
        if options.refresh_docs:
            document.refresh()
    ratios = document.data()["ratios"]
    if ratios:
        console.print("ratios: " + ", ".join(f"{name} {value:g}" for name, value in ratios.items()))


if __name__ == "__main__":
    raise SystemExit(main())
