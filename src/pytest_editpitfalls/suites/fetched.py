"""Published suites that can be fetched into the cache: their names, where they are from, what they have to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_editpitfalls.engine.models.cache import cache_directory
from pytest_editpitfalls.errors import UsageError


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a source.

    Attributes:
        path: below the source's address.
        size: in bytes.
        sha256: what its content has to be.
        suite: what it is called behind the source's name ("gpt2-xl/reverse"), "" for a file that lies beside suites.
    """

    path: str
    size: int
    sha256: str
    suite: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What somebody has published.

    Attributes:
        name: on a command line.
        what: it is, with its authors.
        license: of the data.
        address: of its files: a fixed revision where there is one.
        files: the files.
    """

    name: str
    what: str
    license: str
    address: str
    files: tuple[RemoteFile, ...]

    @property
    def directory(self) -> Path:
        """Where its files are kept."""
        return cache_directory() / "suites" / self.name

    def place(self, file: RemoteFile) -> Path:
        """Where one of its files is kept."""
        return self.directory.joinpath(*PurePosixPath(file.path.lower()).parts)

    def names(self) -> dict[str, tuple[RemoteFile, ...]]:
        """Return every name that a command line can give, with the suites it stands for."""
        found: dict[str, tuple[RemoteFile, ...]] = {}
        for file in self.files:
            if file.suite or len(self.files) == 1:
                parts = PurePosixPath(self.name, file.suite).parts
                for length in range(1, len(parts) + 1):
                    name = "/".join(parts[:length])
                    found[name] = (*found.get(name, ()), file)
        return found


_XL, _J = "GPT2-XL", "GPT-J"
_CONFLICT_PROMPTS = (6930, "6072b8fe90107f8949ee79fd09a63e3877983b978a604b1dd534f2dc7c5f55fa")
_ROUND_PROMPTS = (6163, "577a7b024c73c06c985fab5838010b88b941105fe8285c21b23a44fdc4286939")
_REVERSE = (3077247, "1b2b967db5a135947e4c56bd3ff14f942fa4aa18f1532e842d0195dcf40bc78e")
_COVERAGE = (2395576, "2122e65f4d5f9fa62dcec59c9010f6aaf10bc297c89ae51cdb0e1c1e8ccab0ac")

SOURCES = {
    source.name: source
    for source in (
        Source(
            "pitfalls",
            "the pitfalls benchmark (Li et al., ICLR 2024)",
            "MIT",
            "https://raw.githubusercontent.com/zjunlp/PitfallsKnowledgeEditing/"
            "0cf7acaf27205e99b105991c4c89c16076125393/data",
            (
                RemoteFile(f"{_XL}/conflict_prompts.json", *_CONFLICT_PROMPTS),
                RemoteFile(f"{_XL}/round_prompts.json", *_ROUND_PROMPTS),
                RemoteFile(f"{_XL}/reverse_edit.json", *_REVERSE, "gpt2-xl/reverse"),
                RemoteFile(
                    f"{_XL}/composite_edit.json",
                    2928753,
                    "cede1cca203ae223ba8fe1b7b784ac5a18fe8da2a48a014e354e61165cdfc42c",
                    "gpt2-xl/composite",
                ),
                RemoteFile(f"{_XL}/coverage_edit.json", *_COVERAGE, "gpt2-xl/coverage"),
                RemoteFile(
                    f"{_XL}/easy.json",
                    1249052,
                    "9e334997a8ee9a1f7948507f5eaad84462d09f2ce9ff64c76c0a12debcd0aa7b",
                    "gpt2-xl/easy",
                ),
                RemoteFile(
                    f"{_XL}/hard.json",
                    1269437,
                    "0919ac18cca9ab5c9ec39ae8d6d080123a5a8b1fac28813e9d30ca9df3a96d59",
                    "gpt2-xl/hard",
                ),
                RemoteFile(f"{_J}/conflict_prompts.json", *_CONFLICT_PROMPTS),
                RemoteFile(f"{_J}/round_prompts.json", *_ROUND_PROMPTS),
                RemoteFile(f"{_J}/reverse_edit.json", *_REVERSE, "gpt-j/reverse"),
                RemoteFile(
                    f"{_J}/composite_edit.json",
                    3574226,
                    "1f108f707668c973f8c4a498a2200174b4bca71a3dfc4f8779de399bd1701afc",
                    "gpt-j/composite",
                ),
                RemoteFile(f"{_J}/coverage_edit.json", *_COVERAGE, "gpt-j/coverage"),
                RemoteFile(
                    f"{_J}/easy.json",
                    1282154,
                    "ba6e7335c3c3f5b096d2dd986a16606d9d859666ab2563cc11b26b8215ce6ec2",
                    "gpt-j/easy",
                ),
                RemoteFile(
                    f"{_J}/hard.json",
                    1255675,
                    "50ef6e5547898f9e97e85c255458a8928cccef378b44520faff401b876766253",
                    "gpt-j/hard",
                ),
            ),
        ),
        Source(
            "counterfact",
            "CounterFact (Meng et al., NeurIPS 2022)",
            "MIT, as its authors' repository",
            "https://rome.baulab.info/data/dsets",
            (
                RemoteFile(
                    "counterfact.json",
                    45108470,
                    "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f",
                ),
            ),
        ),
    )
}
"""Name -> source. Hashes are of the files as they are published; CounterFact's stands in many public repositories."""


def fetched_names() -> dict[str, tuple[Source, tuple[RemoteFile, ...]]]:
    """Return every name of suites that can be fetched: the source and the files that hold them."""
    return {name: (source, files) for source in SOURCES.values() for name, files in source.names().items()}


def fetched_files(name: str) -> tuple[Path, ...] | None:
    """Return the files of the suites that a name stands for; None for any other name.

    Raises:
        UsageError: they have not been fetched.
    """
    known = fetched_names().get(name)
    if known is None:
        return None
    source, files = known
    paths = tuple(source.place(file) for file in files)
    if not all(path.is_file() for path in paths):
        raise UsageError(
            f"'{name}' has not been fetched: it is {source.what}",
            where="--pitfalls-suite",
            fix=f"run 'editpitfalls suites fetch {source.name}' once, where there is a network",
        )
    return paths
