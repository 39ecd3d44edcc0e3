"""On a CPU the weights are the pages of the model's file: shared by all processes, and never written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_models import TINY, save_tiny, tiny_model

from pytest_editpitfalls.engine.models import load, resolve
from pytest_editpitfalls.engine.models.worker_memory import PROCESS_BYTES

WORKER = Path(__file__).with_name("shared_pages_worker.py")

only_linux = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").is_file(),
    reason="which pages are private is only told by Linux's /proc",
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mapped_ranges(directory: Path) -> list[tuple[int, int]]:
    """Addresses at which this process has mapped a file of the directory."""
    ranges = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and Path(fields[5]).parent == directory.resolve():
            start, end = (int(text, 16) for text in fields[0].split("-"))
            ranges.append((start, end))
    return ranges


def unmapped(model: Any, directory: Path) -> list[str]:
    """Names of the parameters whose memory is not the files' own."""
    ranges = mapped_ranges(directory)
    return [
        name
        for name, parameter in model.named_parameters()
        if not any(start <= parameter.data_ptr() < end for start, end in ranges)
    ]


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(
            input_ids=tokenizer("The capital of France is", return_tensors="pt").input_ids
        ).logits
    return found


@only_linux
def test_two_processes_share_the_weights(tmp_path: Path) -> None:
    """A second process costs no second copy: its own memory hardly grows, and the file's pages are counted half."""
    tiny = save_tiny(tmp_path / "tiny", "llama")
    model = save_tiny(tmp_path / "model", "llama", layers=5, hidden=512)
    weights = (model / "model.safetensors").stat().st_size
    assert weights > 60e6
    command = [sys.executable, str(WORKER), str(tiny), str(model), str(tmp_path / "cache")]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for _ in range(2):  # the second time, both have read everything
            figures = []
            for worker in workers:
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write("now\n")
                worker.stdin.flush()
                figures.append(json.loads(worker.stdout.readline()))
    finally:
        for worker in workers:
            worker.communicate()
    for each in figures:
        assert each["after"] - each["before"] < weights / 4, "a private copy of the weights"
        assert each["Anonymous"] == 0, "pages of the file were written and thereby copied"
        assert each["Rss"] > 0.9 * weights, "the weights are somewhere else"
        assert each["Pss"] < 0.6 * weights, "the two do not share the file's pages"
        assert PROCESS_BYTES / 2 < each["after"] < 1.25 * PROCESS_BYTES, "the estimate's figure is out of date"


@only_linux
@pytest.mark.parametrize("family", TINY)
def test_every_family_is_mapped(family: str, tmp_path: Path) -> None:
    """No weight of any family is converted, fused or copied on its way from the file into the model."""
    directory = save_tiny(tmp_path / family, family)
    model, _ = load(resolve(str(directory), cache_dir=tmp_path / "cache"), device="cpu")
    own = unmapped(model, directory)
    if family in ("mixtral", "qwen3_moe", "qwen3_moe_mixed"):  # transformers joins experts; the estimate counts that
        assert own
        own = [name for name in own if ".experts." not in name]
    assert own == []


@only_linux
def test_shards_are_mapped(tmp_path: Path) -> None:
    original, tokenizer = tiny_model("gpt2", hidden=64)
    original.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    tokenizer.save_pretrained(tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    model, _ = load(resolve(str(tmp_path / "sharded"), cache_dir=tmp_path / "cache"), device="cpu")
    assert unmapped(model, tmp_path / "sharded") == []
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(logits(model, tokenizer), logits(original, tokenizer))


@only_linux
def test_a_converted_dtype_cannot_be_mapped(tmp_path: Path) -> None:
    """What the estimate says of it (`WorkersEstimate.copied`) is so."""
    directory = save_tiny(tmp_path / "model", "llama", dtype=torch.bfloat16)
    model, _ = load(resolve(str(directory), cache_dir=tmp_path / "cache"), device="cpu")
    assert model.dtype == torch.float32
    assert len(unmapped(model, directory)) == len(list(model.parameters()))
    kept, _ = load(resolve(str(directory), cache_dir=tmp_path / "cache"), device="cpu", dtype="bfloat16")
    assert unmapped(kept, directory) == []


@pytest.mark.parametrize("family", ["gpt2", "llama", "falcon"])
def test_writing_in_place_never_reaches_the_file(family: str, tmp_path: Path) -> None:
    """The map is private: a written page belongs to the writer. Nobody else sees it, in this process or another."""
    directory = save_tiny(tmp_path / family, family)
    before = digest(directory / "model.safetensors")
    source = resolve(str(directory), cache_dir=tmp_path / "cache")
    model, tokenizer = load(source, device="cpu")
    other, _ = load(source, device="cpu")
    expected = logits(other, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert not torch.equal(logits(model, tokenizer), expected)
    assert torch.equal(logits(other, tokenizer), expected)
    assert torch.equal(logits(load(source, device="cpu")[0], tokenizer), expected)
    assert digest(directory / "model.safetensors") == before


def test_logits_are_those_of_copied_weights(tmp_path: Path) -> None:
    """Where in memory a weight begins must not change what a matrix product gives."""
    directory = save_tiny(tmp_path / "model", "qwen2", hidden=64)
    model, tokenizer = load(resolve(str(directory), cache_dir=tmp_path / "cache"), device="cpu")
    expected = logits(model, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    stored = load_file(directory / "model.safetensors")
    assert all(torch.equal(parameter, stored[name]) for name, parameter in model.named_parameters())
    assert torch.equal(logits(model, tokenizer), expected)
