"""``editpitfalls suites``: build suites, look them over, and bring published ones. One module per command."""

from __future__ import annotations

import typer

from .build import build
from .check import check
from .fetch import fetch

HELP = "Build suites from facts and rules, check suites, and bring published ones."
suites_app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False)
for command in (build, check, fetch):
    suites_app.command()(command)
