"""The same readers under a fuzzer that is guided by coverage. For developers: atheris is no dependency of the tests.

In an environment with this package's own dependencies, atheris and hypothesis:

    PYTHONPATH=src:tests python -m fuzz.run_atheris reverse.jsonl -max_total_time=300

The first argument is a reader of `targets.TARGETS`, the others are libFuzzer's. An input that ends in anything but a
clear message is written to the working directory as `crash-*`: put it into `corpus/<reader>/` and mend the reader.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pytest_editpitfalls", "tomllib", "tomli"]):
    from pytest_editpitfalls.options import hyperparameters  # noqa: F401
    from pytest_editpitfalls.results import writer  # noqa: F401
    from pytest_editpitfalls.suites import suite  # noqa: F401
    from pytest_editpitfalls.suites.readers import own_format, released_files  # noqa: F401

from .targets import CORPUS, TARGETS, check, seed_of


def main() -> None:
    target = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if target not in TARGETS:
        sys.exit(f"name a reader: {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name) / "work", Path(name) / "found"
        folder.mkdir()
        found.mkdir()
        (found / "seed").write_bytes(seed_of(target))
        kept = CORPUS / target
        folders = [str(found), *([str(kept)] if kept.is_dir() else [])]
        atheris.Setup([*sys.argv, *folders], lambda data: check(target, data, folder) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
