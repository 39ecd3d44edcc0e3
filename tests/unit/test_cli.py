"""The ``editpitfalls`` command and the table in the docs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from pytest_editpitfalls.cli.app import app, main
from pytest_editpitfalls.engine.editors.presets import presets_table
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.models.known import KNOWN_MODELS, known_names

DOCS = Path(__file__).parents[2] / "docs"


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(args)
    found = capsys.readouterr()
    return int(left.value.code or 0), found.out, found.err


def test_editors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "editors", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert {each.name for each in shipped_editors()} <= set(rows)
    assert rows["rome"]["origin"] == "pytest-editpitfalls"
    assert rows["rome"]["needs"] == "second moments of the keys"
    assert rows["ike"]["form"] == "prefix"


def test_editors_as_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    status, out, _ = run(capsys, "editors")
    assert status == 0
    for each in shipped_editors():
        assert f" {each.name} " in out


@pytest.mark.parametrize("width", [60, 80, 120, 250])
def test_editors_can_be_read_at_every_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = run(capsys, "editors")
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    words = re.findall(r"[\w-]+", re.sub(r"[^\w\s-]", " ", out))
    assert {"unconstrained", "low-rank", "rome"} <= set(words)  # no word is cut
    left_out = "a wider terminal, --json or docs/editors.md has more" in " ".join(out.split())
    assert left_out == (width < 250)


@pytest.mark.parametrize("width", [60, 80, 250])
def test_models_can_be_read_at_every_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert max(map(len, out.splitlines())) <= width
    words = set(out.split())
    assert set(known_names()) <= words
    if width > 60:
        assert set(KNOWN_MODELS.values()) <= words  # no id is cut
    assert ("kmeng01/memit/hparams/ROME/gpt2-medium.json" in words) == (width == 250)
    assert "rome at 8, ft-l at 0, mend at 21-23" in " ".join(out.split()) or width == 250


def test_the_version_and_short_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"pytest-editpitfalls {version('pytest-editpitfalls')}\n", "")
    for args in ((), ("store",), ("compare",)):
        assert run(capsys, *args, "-h") == run(capsys, *args, "--help")


@pytest.mark.parametrize("args", [("nosuch",), ("report",), ("models", "--nosuch"), ("store", "nosuch")])
def test_a_wrong_command_line_has_pytests_exit_status(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    assert run(capsys, *args)[0] == 4


def test_the_table_in_the_docs_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "editors", "--markdown")
    assert status == 0
    page = (DOCS / "editors.md").read_text(encoding="utf-8")
    own = page.partition("<!-- editors: begin -->\n")[2].partition("<!-- editors: end -->")[0]
    assert own == out, "run: editpitfalls editors --markdown, and put it into docs/editors.md"
    assert len(out.splitlines()) == len(shipped_editors()) + 2


def test_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = run(capsys, "models", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(known_names()) <= set(rows)
    assert rows["gpt2-xl"]["layers"] == 48
    shown = {(name, preset["editor"]) for name, row in rows.items() for preset in row["presets"]}
    assert shown == {(preset.model, preset.editor) for preset in presets_table()}
    assert all(preset["source"] for row in rows.values() for preset in row["presets"])
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "kmeng01/memit/hparams/ROME/gpt2-xl.json" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("editors", "--json", "--markdown"), "--json and --markdown are both given"),
        (("train-mend", "--model=gpt2", "--data=d", "--out=o", "--set=rank"), "'rank' is not KEY=VALUE"),
        (
            ("train-mend", "--model=no/such-directory/x.gguf", "--data=d", "--out=o"),
            "x.gguf",
        ),
    ],
)
def test_what_the_user_can_repair_is_one_message(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str
) -> None:
    status, out, err = run(capsys, *args)
    assert status == 4
    assert out == ""
    assert err.startswith("ERROR: ")
    assert words in err
    assert "Traceback" not in err


def test_usage_of_the_command_itself(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "train-mend")
    assert status == 4
    assert "--model" in err


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group, by the words that call it."""

    def below(words: str, found: Any) -> Iterator[tuple[str, Any]]:
        yield words, found
        for name, each in getattr(found, "commands", {}).items():
            yield from below(f"{words} {name}", each)

    return below("editpitfalls", typer.main.get_command(app))


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The words of the command that a line calls, and the values that it gets; nothing is run."""
    words, rest = "editpitfalls", shlex.split(line)[1:]
    found: Any = typer.main.get_command(app)
    while rest and rest[0] in getattr(found, "commands", {}):
        words, found, rest = f"{words} {rest[0]}", found.commands[rest[0]], rest[1:]
    assert not getattr(found, "commands", None), line
    return words, dict(found.make_context(words, rest).params)


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_help_has_examples_that_can_be_given(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    status, out, _ = run(capsys, *words.split()[1:], "--help")
    assert status == 0
    lines = [line.strip().removeprefix("$ ") for line in out.splitlines() if line.strip().startswith("$ editpitfalls")]
    assert lines
    for line in lines:
        assert len(line) <= 76, "at 80 columns it would be two lines, and pasted two commands"
        called, values = parsed(line)
        assert called == words or called.startswith(f"{words} ")
        assert values


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("editpitfalls compare before.json after.json --gate reverse.cs_exp:2pp", "No such option"),
        ("editpitfalls plot before.json", "Missing parameter"),
    ],
)
def test_an_example_with_a_wrong_option_would_be_found(line: str, wrong: str) -> None:
    with pytest.raises(Exception, match=wrong):
        parsed(line)


@pytest.mark.parametrize("words", [[], ["store"], ["suites"]])
def test_a_command_line_that_asks_for_nothing_shows_the_help_and_is_no_success(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script whose variable is empty must not pass; the status is that of every other usage error."""
    status, out, err = run(capsys, *words)
    assert status == 4
    assert "Usage: editpitfalls" in out + err
    assert "Examples" in out + err or "Example:" in out + err
