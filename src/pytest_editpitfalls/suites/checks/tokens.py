"""How a model's tokenizer takes prompts and objects."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.errors import UnscorableCase
from pytest_editpitfalls.suites.checking import Check, Finding, Material, asked_of, cases_of, finding_of, worst


def run(material: Material) -> Iterator[Finding]:
    """Give objects and prompts that the model cannot be asked, and borders that its tokenizer merges."""
    tokens = material.tokens
    if tokens is None:
        return
    merged: set[tuple[str, str]] = set()
    for suite, case in cases_of(material):
        said = set()
        for asked in asked_of(case):
            text = f"{asked.prompts[0]}{asked.joiner}{asked.object}"
            try:
                apart = (*tokens.prompt(asked.prompts[0]), *tokens.target(asked.object, asked.joiner))
                together = tokens.prompt(text)
            except UnscorableCase as error:
                if error.what not in said:
                    said.add(error.what)
                    yield finding_of(case, worst(suite), error.what, error.fix or "")
                continue
            if apart != together and (key := (asked.relation, asked.object)) not in merged:
                merged.add(key)
                yield finding_of(
                    case,
                    "note",
                    f"as one text, '{text}' has other tokens than its prompt and object",
                    "the engine joins their tokens; end the prompt with a letter, without a space",
                )


CHECK = Check("tokens", "what a model's tokenizer cannot write, or merges (with --model)", run, order=6)
