"""Samples the text that ships for the embedded model's second moments anew, and compares it: ``nox -s text``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.moments.second_moments import SHIPPED_TEXTS, SecondMoments
from pytest_editpitfalls.engine.moments.tensor_files import write_tensors
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings

MODEL = "smollm2-135m"


def sampled(session: EngineSession) -> tuple[str, torch.Tensor]:
    """Name and token ids (documents, tokens) of a model's default text, drawn whatever the cache has."""
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory)
        key = f"{session.fingerprint}-torch.{session.dtype}"
        SecondMoments(session.forward, fingerprint=key, cache=cache, max_tokens=3072, texts=cache).get(
            MomentSource(), [0]
        )
        files = {path.name: load_file(path) for path in cache.glob("*.safetensors")}
    return next((name, tensors["ids"]) for name, tensors in files.items() if "ids" in tensors)


def main(arguments: list[str]) -> int:
    """Compare, or ``--write``; returns the exit status."""
    name, ids = sampled(EngineSession.open(EngineSettings(model=MODEL, device="cpu"), print))
    path = SHIPPED_TEXTS / name
    if "--write" in arguments:
        for old in SHIPPED_TEXTS.glob("*.safetensors"):
            old.unlink()
        # 49,152 words: half of the numbers that int64 would take, and more than int16 has
        write_tensors(path, {"ids": ids.int()}, {"model": MODEL, "torch": torch.__version__})
        path.chmod(0o644)
        print(f"written: {path.name}")
        return 0
    if not path.is_file():
        print(f"no text ships under the name {name}: the model, its tokenizer or what the text depends on has changed")
        return 1
    same = int((load_file(path)["ids"] == ids).all(dim=1).sum())
    print(f"{same} of {len(ids)} documents are the same here (a processor that rounds otherwise draws others)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
