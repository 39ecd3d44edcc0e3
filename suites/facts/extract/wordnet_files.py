"""Reads WordNet's files: senses, how often each was met in tagged text, and what links them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

_UNKIND = (
    "disparagement",
    "ethnic slur",
    "obscenity",
    "slang",
    "archaism",
    "dialect",
    "derogation",
    "smut",
    "vulgarism",
)
_UNKIND_GLOSS = (
    "offensive", "obscene", "derogatory", "disparaging", "vulgar", "ethnic slur", "slang", "insulting", "pejorative",
    "sexual", "genital", "intercourse", "prostitut", "feces", "excrement", "term of abuse", "stupid", "genocide",
)  # fmt: skip


@dataclass(slots=True)
class Synset:
    """A meaning: its words in WordNet's order, its gloss, and what it points to as (symbol, key, from, to)."""

    key: str
    file: int
    words: tuple[str, ...]
    gloss: str
    pointers: tuple[tuple[str, str, int, int], ...]
    unkind: bool = field(default=False)


class WordNet:
    """All meanings by key (part of speech and offset).

    Args:
        directory: with the files data.noun, index.sense and so on.
    """

    def __init__(self, directory: Path) -> None:
        self.synsets: dict[str, Synset] = {}
        for part in ("noun", "verb", "adj", "adv"):
            with open(directory / f"data.{part}", encoding="utf-8") as file:
                for line in file:
                    if not line.startswith("  "):
                        synset = _synset(line)
                        self.synsets[synset.key] = synset
        self.first: dict[tuple[str, str], str] = {}
        self.count: dict[tuple[str, str], int] = defaultdict(int)
        self.senses: dict[str, int] = defaultdict(int)
        self._read_senses(directory / "index.sense")
        for synset in self.synsets.values():
            synset.unkind = self._is_unkind(synset)

    def _read_senses(self, path: Path) -> None:
        parts = {1: "n", 2: "v", 3: "a", 4: "r", 5: "a"}
        with open(path, encoding="utf-8") as file:
            for line in file:
                sense, offset, number, tagged = line.split()
                lemma, rest = sense.split("%")
                part = parts[int(rest[0])]
                if number == "1":
                    self.first[lemma, part] = f"{part}{offset}"
                self.count[lemma, f"{part}{offset}"] = int(tagged)
                self.senses[lemma] += 1

    def _is_unkind(self, synset: Synset) -> bool:
        usage = (self.synsets[key] for symbol, key, _, _ in synset.pointers if symbol == ";u")
        domains = {word.replace("_", " ").lower() for target in usage for word in target.words}
        return bool(domains & set(_UNKIND)) or any(word in synset.gloss.lower() for word in _UNKIND_GLOSS)

    def is_first(self, word: str, synset: Synset) -> bool:
        """Whether this is the most frequent meaning of the word in its part of speech."""
        return self.first.get((word.lower(), synset.key[0])) == synset.key

    def tagged(self, word: str, synset: Synset) -> int:
        """How often the word was met in this meaning in tagged text."""
        return self.count[word.lower(), synset.key]

    def targets(self, synset: Synset, *symbols: str) -> list[Synset]:
        """What a meaning points to by one of these symbols."""
        return [self.synsets[key] for symbol, key, _, _ in synset.pointers if symbol in symbols]

    def above(self, synset: Synset) -> list[Synset]:
        """All hypernyms, the nearest first."""
        found: list[Synset] = []
        level = [synset]
        while level:
            level = [up for one in level for up in self.targets(one, "@", "@i") if up not in found]
            found += level
        return found

    def names(self) -> dict[str, set[str]]:
        """Give, for each word with a capital letter, those that mean the same."""
        found: dict[str, set[str]] = defaultdict(set)
        for synset in self.synsets.values():
            words = {word.replace("_", " ") for word in synset.words if word[:1].isupper()}
            for word in words if synset.key[0] == "n" else ():
                found[word] |= words - {word}
        return found

    def mentions(self) -> Counter[str]:
        """Count the words with a capital letter in all glosses."""
        return Counter(word for synset in self.synsets.values() for word in re.findall(r"\b[A-Z][\w'-]+", synset.gloss))


def _synset(line: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    part = "a" if fields[2] == "s" else fields[2]
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].split("(")[0] for i in range(count))
    at = 4 + 2 * count
    pointers = []
    for i in range(int(fields[at])):
        symbol, offset, kind, ends = fields[at + 1 + 4 * i : at + 5 + 4 * i]
        kind = "a" if kind == "s" else kind
        pointers.append((symbol, f"{kind}{offset}", int(ends[:2], 16), int(ends[2:], 16)))
    return Synset(f"{part}{fields[0]}", int(fields[1]), words, gloss.strip(), tuple(pointers))
