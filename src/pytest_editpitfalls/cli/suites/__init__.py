"""``editpitfalls suites``: making suites, looking them over, and fetching published ones."""

from __future__ import annotations

import typer

from .build import build

suites_app = typer.Typer(help="Build suites from facts and rules, for a model.", no_args_is_help=True)
for command in (build,):
    suites_app.command()(command)
