"""File extensions of programming languages: GitHub's Linguist, as the package linguist-languages has it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from suites.facts.extract.model import Fact, Material, Source


def facts(material: Material) -> Iterator[Fact]:
    """Read the main extension of each language, where no other language has it."""
    languages = []
    taken: Counter[str] = Counter()
    for path in sorted(material.packages.npm("linguist-languages/data").glob("*.js")):
        text = path.read_text(encoding="utf-8")
        extensions = _strings(text, "extensions")
        taken.update(extensions)
        name = re.search(r"\bname: (['\"])(.+?)\1", text)
        if "type: 'programming'" in text and name and extensions and "group:" not in text:
            aliases = tuple(alias for alias in _strings(text, "aliases") if alias.lower() != name[2].lower())
            # Tools that know it: an editor's mode, a media type, interpreters, other names.
            tools = ("codemirrorMode", "codemirrorMimeType", "interpreters")
            known = sum(key in text for key in tools) + ("aceMode: 'text'" not in text) + len(aliases)
            languages.append((name[2], extensions[0], aliases, float(known)))
    for name_, extension, aliases, known in languages:
        if taken[extension] == 1:
            yield Fact(name_, "P1195", extension, "programming-language", "extension", known, aliases)


def _strings(text: str, key: str) -> list[str]:
    found = re.search(rf"\b{key}: \[(.*?)\]", text, re.DOTALL)
    return [value for _, value in re.findall(r"(['\"])(.*?)\1", found[1])] if found else []


SOURCE = Source(
    name="linguist",
    packages=(("npm", "linguist-languages"),),
    license="MIT",
    attribution="linguist-languages, Copyright (c) Ika, MIT; its data are those of GitHub Linguist.",
    date="2026",
    taken="the main file extension of programming languages, where no other language has it",
    popularity="number of other names, editor modes, media types and interpreters that are known of the language",
    facts=facts,
)
