"""All editors on the same cases: what each breaks, how well it edits, how long it takes.

    python -m benchmarks.editors --limit 10 --out results/

Every editor runs through the plugin, in a process of its own, and leaves its JSON in ``--out``; an editor whose JSON is
there already is not run again. Then one table is printed, and with ``--markdown`` written as Markdown too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.errors import did_you_mean
from pytest_editpitfalls.results import RunResults

SUITES = ("reverse", "composite", "coverage", "easy", "hard")

COLUMNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ES", "es", SUITES),
    ("PS", "ps", SUITES),
    ("rev CS_exp", "cs_exp", ("reverse",)),
    ("CS_imp", "cs_imp", ("reverse",)),
    ("CM", "cm", ("reverse",)),
    ("comp CS_exp", "cs_exp", ("composite",)),
    ("CS_imp", "cs_imp", ("composite",)),
    ("CM", "cm", ("composite",)),
    ("TFD rel.", "tfd_released", ("composite",)),
    ("cov CS_exp", "cs_exp", ("coverage",)),
    ("CM", "cm", ("coverage",)),
    ("easy D", "distortion", ("easy",)),
    ("IR", "ir", ("easy",)),
    ("FR", "fr", ("easy",)),
    ("hard D", "distortion", ("hard",)),
    ("IR", "ir", ("hard",)),
    ("FR", "fr", ("hard",)),
)
"""Heading, metric, and the suites that it is averaged over, case by case. TFD rel. is the released definition, by what
the base model held: after an edit that wipes a fact out, TFD divides by next to nothing."""


def run_editor(editor: str, limit: int, model: str, path: Path, arguments: Sequence[str]) -> str | None:
    """Run one editor through pytest; return what went wrong, or None."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--no-summary", "-p", "no:cacheprovider"]
    command += [f"--pitfalls-editor={editor}", f"--pitfalls-model={model}", f"--pitfalls-limit={limit}"]
    done = subprocess.run(
        [*command, f"--pitfalls-json={path}", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode in (0, 1):  # 1: cases failed, which is what is measured
        return None
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return "\n".join(said[-6:])


def row_of(results: RunResults) -> list[str]:
    """Cells of one editor: cases, each metric's mean in per cent, errors, seconds per case."""
    cells = [str(sum(case.is_scored for case in results.cases))]
    for _, metric, suites in COLUMNS:
        values = [
            value
            for case in results.cases
            if case.suite in suites and case.is_scored and (value := case.metrics.get(metric)) is not None
        ]
        cells.append(f"{round(100 * sum(values) / len(values), 1) + 0.0:.1f}" if values else "-")
    seconds = [case.seconds for case in results.cases if case.seconds]
    cells.append(str(sum(case.outcome == "error" for case in results.cases)))
    cells.append(f"{sum(seconds) / len(seconds):.1f}" if seconds else "-")
    return cells


def headings() -> list[str]:
    return ["editor", "cases", *(heading for heading, _, _ in COLUMNS), "errors", "s / case"]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = ["| " + " | ".join(headings()) + " |", "|---" * len(headings()) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editors", description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=10, help="cases of each suite (default: 10)")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--editor", action="append", help="default: all that ship; NAME+mle is Multi-Label Edit")
    parser.add_argument("--out", type=Path, default=Path("editors-results"), help="folder of the JSON files")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    parser.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    options = parser.parse_args(arguments)
    editors = options.editor or [*EDITORS, "memit+mle"]
    for editor in editors:
        if editor.removesuffix("+mle") not in EDITORS:
            parser.error(f"unknown editor '{editor}'; {did_you_mean(editor, EDITORS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 220)
    table = Table(title=f"{options.model}, {options.limit} cases of each suite, means in per cent")
    for heading in headings():
        table.add_column(heading, justify="left" if heading == "editor" else "right")
    rows, failed = [], False
    for editor in editors:
        path = options.out / f"{editor}.json"
        if not path.is_file():
            console.print(f"{editor} ...")
            if (wrong := run_editor(editor, options.limit, options.model, path, options.pytest)) is not None:
                console.print(f"{editor} could not be run:\n{wrong}", markup=False)
                failed = True
                continue
        try:
            rows.append([editor, *row_of(RunResults.model_validate_json(path.read_text(encoding="utf-8")))])
        except (OSError, ValidationError) as error:
            console.print(f"{path} is not a result file: {error}", markup=False)
            failed = True
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
