"""``editpitfalls suites``: build suites, look them over, and bring published ones. One module per command."""

from __future__ import annotations

import typer

from pytest_editpitfalls.cli.examples import command, examples

from .build import build
from .check import check
from .fetch import fetch

HELP = "Build suites from facts and rules, check suites, and bring published ones."
suites_app = typer.Typer(
    help=HELP, epilog=examples("editpitfalls suites check reverse"), no_args_is_help=True, add_completion=False
)
_BUILD = "editpitfalls suites build --model gpt2 --out mine"
command(suites_app, _BUILD, f"{_BUILD} --suites easy --cases 50")(build)
command(suites_app, "editpitfalls suites check reverse my-suite.toml", "editpitfalls suites check all --json")(check)
command(suites_app, "editpitfalls suites fetch pitfalls counterfact")(fetch)
