"""The ``editpitfalls`` command: its parts, lists of editors and models, and the training of editors' networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pytest_editpitfalls.engine.editors.resolution import as_option, check_given
from pytest_editpitfalls.engine.editors.shipped import shipped_editors, training_options_of
from pytest_editpitfalls.errors import PitfallsError, UsageError

from .calibrate import calibrate_app
from .compare import compare
from .examples import command, examples
from .lint import lint
from .listing import editor_rows, editors_markdown, editors_table, model_rows, models_in_words
from .noise import noise
from .placement import DeviceOption, checked_model
from .report import export, plot, report, table
from .show import print_json, show
from .store import store_app
from .suites import suites_app

TRAIN = "train-"
"""What the commands that train an editor's network begin with."""

USAGE_ERROR = 4
"""Exit status of a mistake that the user can repair, as pytest's."""

_WRONG_OPTION = 2
"""What typer leaves with where an option or a command is none."""

app = typer.Typer(
    help="Find out what a knowledge edit breaks. The cases themselves run with pytest --editor=NAME.",
    epilog=examples(
        "editpitfalls editors",
        "editpitfalls compare before.json after.json --fail-on reverse.cs_exp:2pp",
        "editpitfalls report run.json --html report.html",
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

app.add_typer(store_app, name="store")
app.add_typer(calibrate_app, name="calibrate")
app.add_typer(suites_app, name="suites")
_COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    compare: (
        "editpitfalls compare before.json after.json",
        "editpitfalls compare a.json b.json --fail-on reverse.cs_exp:2pp --strict",
    ),
    report: ("editpitfalls report run.json", "editpitfalls report 3f9a --html report.html --markdown report.md"),
    plot: ("editpitfalls plot run.json --out plots --format pdf", "editpitfalls plot a.json b.json --out metrics.png"),
    table: ("editpitfalls table rome.json memit.json", "editpitfalls table rome.json memit.json --latex --out t.tex"),
    export: ("editpitfalls export run.json --released results",),
    noise: (
        "editpitfalls noise --editor rome --suite reverse --limit 20",
        "editpitfalls noise first.json second.json",
    ),
    lint: ("editpitfalls lint edits.jsonl", "editpitfalls lint edits.csv --model smollm2-135m --strict"),
}
for each, lines in _COMMANDS.items():
    command(app, *lines)(each)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pytest-editpitfalls {version('pytest-editpitfalls')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take what is common to all commands."""


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@command(app, "editpitfalls editors", "editpitfalls editors --json")
def editors(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/editors.md.")] = False,
) -> None:
    """List the editors: those that ship and those of installed packages."""
    if as_json and markdown:
        raise UsageError("--json and --markdown are both given", fix="give one of them")
    if markdown:
        typer.echo(editors_markdown(), nl=False)
    elif as_json:
        print_json(editor_rows())
    else:
        show([editors_table(Console().width)])


@command(app, "editpitfalls models", "editpitfalls models --json")
def models(as_json: AsJson = False) -> None:
    """List the models with a short name, and the editors that have published hyper-parameters for them."""
    if as_json:
        print_json(model_rows())
    else:
        show(models_in_words(Console().width))


def train_network(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Name, Hugging Face id, directory or GGUF file.", callback=checked_model)],
    data: Annotated[Path, typer.Option(help="Edits to train on: a .jsonl file, a suite or a directory of suites.")],
    out: Annotated[Path, typer.Option(help="Where the trained network goes (safetensors).")],
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one option of the training.")
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="Suite whose subjects are not trained on, besides those that ship; may be repeated."),
    ] = None,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside OUT.")] = False,
) -> None:
    given, editor = _given(option or ()), (context.info_name or "").removeprefix(TRAIN)
    _check_training(editor, model, given)
    from pytest_editpitfalls.cli.network_training import load_training_data, train, training_options

    options = training_options(editor, model, given)
    facts = load_training_data(data, exclude=exclude or (), max_facts=options.max_facts, seed=options.seed)
    train(editor, model, facts, out, options=options, device=device, resume=resume, console=Console())


for shipped in shipped_editors():
    if shipped.training:
        command(
            app,
            f"editpitfalls {TRAIN}{shipped.name} --model gpt2 --data e.jsonl --out net.st",
            f"editpitfalls {TRAIN}{shipped.name} --model gpt2 --data e.jsonl --out net.st --resume",
            name=TRAIN + shipped.name,
            text=f"Train the network that the editor {shipped.name} needs.",
        )(train_network)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit status; what the user can repair is one message, no traceback."""
    try:
        app(args=None if args is None else list(args), prog_name="editpitfalls")
    except PitfallsError as error:
        typer.echo(f"ERROR: {error}", err=True)
        raise SystemExit(USAGE_ERROR) from None
    except SystemExit as ended:
        if ended.code == _WRONG_OPTION:
            raise SystemExit(USAGE_ERROR) from None
        raise


def _check_training(editor: str, model: str, given: Mapping[str, str]) -> None:
    """Raise `UsageError` for an unknown option of the training, or a bad value, before torch is imported."""
    kind = training_options_of(editor)
    if kind is not None:
        with as_option("--set"):
            check_given(editor, kind, model, None, given)


def _given(entries: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"'{entry}' is not KEY=VALUE", where="--set", fix="write for instance --set rank=64")
        values[key.strip()] = value.strip()
    return values


if __name__ == "__main__":
    main()
