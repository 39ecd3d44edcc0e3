"""One of several processes with the same model: loads, reads every weight, reports its memory, waits to be asked again.

    python shared_pages_worker.py TINY_MODEL MODEL CACHE

Every line on stdin asks for one line of JSON: bytes of anonymous memory, and of the model's file in this process.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import torch

from pytest_editpitfalls.engine.models import fingerprint, load, resolve


def anonymous() -> int:
    """Bytes that belong to this process and to no file: what a private copy would be in."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * sum(int(number) for number in re.findall(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE))


def of_file(path: Path) -> dict[str, int]:
    """Rss, Pss and Anonymous of all mappings of a file."""
    found: Counter[str] = Counter()
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and (match := re.match(r"(Rss|Pss|Anonymous):\s+(\d+) kB", line)):
            found[match[1]] += 1024 * int(match[2])
    return {name: found[name] for name in ("Rss", "Pss", "Anonymous")}


def main(tiny: str, model: str, cache: str) -> None:
    torch.set_num_threads(1)
    # The first model brings transformers' modules, which are no part of the second one.
    _read_all(tiny, cache)
    before = anonymous()
    loaded = _read_all(model, cache)
    for _ in sys.stdin:
        after = anonymous()
        figures = {"before": before, "after": after, **of_file(Path(model) / "model.safetensors")}
        print(json.dumps(figures), flush=True)
    del loaded


def _read_all(directory: str, cache: str) -> object:
    model, tokenizer = load(resolve(directory, cache_dir=Path(cache)), device="cpu")
    with torch.no_grad():
        model(input_ids=tokenizer("The capital of France is", return_tensors="pt").input_ids)
    fingerprint(model, tokenizer)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
