"""How prompts read with their subjects in place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_editpitfalls.suites.checking import Check, Finding, Material, asked_of, cases_of, finding_of

_ARTICLES = re.compile(r"\b(the|an|a) (the|an|a)\b", re.IGNORECASE)
_NO_SPACE = re.compile(r"(?:[A-Za-z0-9]\{\}|\{\}[A-Za-z0-9])")
_MARKS = re.compile(r"[^\W\d_]")


def run(material: Material) -> Iterator[Finding]:
    """Give sentences that begin in lower case, double articles and spaces, and words that are run together."""
    for _, case in cases_of(material):
        said: dict[str, dict[str, None]] = {}
        for asked in asked_of(case):
            for template, prompt in zip(asked.templates, asked.prompts, strict=True):
                for what in _of_prompt(template or prompt, prompt):
                    said.setdefault(what, {})[prompt] = None
        for what, prompts in said.items():
            text = f"{what} in {len(prompts)} prompt{'s' if len(prompts) > 1 else ''}: '{next(iter(prompts))}'"
            yield finding_of(case, "warning", text, "reword the prompt, or write the subject in another way")


def _of_prompt(template: str, prompt: str) -> Iterator[str]:
    first = _MARKS.search(prompt)
    if template.startswith("{}") and first is not None and first.start() == 0 and first.group().islower():
        yield "a sentence begins in lower case"
    if _ARTICLES.search(prompt):
        yield "two articles"
    if "  " in prompt.strip():
        yield "two spaces"
    if _NO_SPACE.search(template):
        yield "no space beside the subject"
    if prompt != prompt.strip():
        yield "a space at the beginning or the end"


CHECK = Check("wording", "sentence case, double articles, spaces too many or too few", run, order=7)
