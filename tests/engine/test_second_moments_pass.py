"""The pass over a corpus: its precision, what it runs, holds and tells, and how it goes on after it was stopped."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.corpora import MomentSource, count_lines, text_lines
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.moments import (
    SecondMoment,
    SecondMoments,
    collection,
    documents,
    partial,
    second_moments,
)
from pytest_editpitfalls.engine.moments.collection import add_products, symmetric
from pytest_editpitfalls.engine.moments.documents import WINDOW, Documents
from pytest_editpitfalls.engine.settings import Progress
from tests.engine.conftest import make_forward
from tests.engine.damaged_files import blank_the_end, rewrite, truncate
from tests.tiny_models import tiny_model

ROOT = Path(__file__).parents[2]

LINES = ["The capital of France is Paris. " * (1 + number * 7 % 12) for number in range(14)]
LINES[3] = LINES[8] = " "
LAYERS = [1, 3]
BATCHES = 11
"""Of `LINES`, in windows of four documents and passes of 120 tokens."""


def forward_of(name: str, dtype: torch.dtype) -> Forward:
    model, tokenizer = tiny_model(name, dtype=dtype)
    return Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def moments(forward: Forward, cache: Path, **options: Any) -> SecondMoments:
    return SecondMoments(forward, **{"fingerprint": "tiny", "cache": cache, "max_tokens": 120, **options})


def text(path: Path) -> MomentSource:
    return MomentSource("text", str(path))


class Passes:
    """Batches that have run since; the one of number ``stop`` raises instead."""

    def __init__(self) -> None:
        self.count = 0
        self.stop: int | None = None
        self.error: BaseException = KeyboardInterrupt()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    counter, blocks = Passes(), Forward.blocks

    def counted(self: Forward, rows: Rows, **options: Any) -> Tensor:
        if counter.count == counter.stop:
            raise counter.error
        counter.count += 1
        return blocks(self, rows, **options)

    monkeypatch.setattr(Forward, "blocks", counted)
    return counter


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of four documents, and whatever was summed is worth keeping."""
    monkeypatch.setattr(documents, "WINDOW", 4)
    monkeypatch.setattr(partial, "WORTH_SECONDS", 0.0)


# Precision


def keys_of(tokens: int, size: int, dtype: torch.dtype) -> Tensor:
    """Keys as activations give them: mostly near nothing, some dimensions huge, never centred."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(tokens, size, generator=generator, dtype=torch.float64).relu()
    return (keys * torch.logspace(-2, 2, size, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("size", [1, 5, 97, 192])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 5e-6)])
def test_products_against_double_precision(size: int, dtype: torch.dtype, bound: float) -> None:
    keys = keys_of(2 * collection.PRODUCT_TOKENS + 77, size, dtype)
    total = torch.zeros(size, size, dtype=torch.float64)
    for part in keys.split(6000):
        add_products(total, part)
    expected, got = keys.double().T @ keys.double(), symmetric(total)
    assert torch.equal(got, got.T)
    assert float((got - expected).norm() / expected.norm()) < bound
    scale = expected.diagonal().sqrt()
    assert float(((got - expected).abs() / (scale * scale[:, None])).max()) < 10 * bound


def test_what_the_process_allows_does_not_reach_the_products() -> None:
    keys = keys_of(512, 96, torch.float32)
    before = torch.get_float32_matmul_precision()
    exact, got = (torch.zeros(96, 96, dtype=torch.float64) for _ in range(2))
    add_products(exact, keys)
    try:
        torch.set_float32_matmul_precision("medium")  # bfloat16 on a CPU that has it, TF32 on a GPU
        add_products(got, keys)
        assert torch.get_float32_matmul_precision() == "medium", "the process's own setting is lost"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(got, exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_products_on_a_gpu(dtype: torch.dtype) -> None:
    keys = keys_of(5000, 192, dtype).cuda()
    total = torch.zeros(192, 192, dtype=torch.float64, device="cuda")
    add_products(total, keys)
    expected = keys.double().T @ keys.double()
    assert float((symmetric(total) - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_a_single_precision_model_against_double_products_of_its_keys(name: str, corpus: Path, tmp_path: Path) -> None:
    forward, keys = forward_of(name, torch.float32), []
    hook = forward.host.down_projection(1).register_forward_pre_hook(
        lambda _m, args: keys.append(args[0].reshape(-1, args[0].shape[-1]).double())
    )
    try:
        for line in filter(str.strip, LINES):
            ids = forward.host.tokenizer(line)["input_ids"][:256]
            with torch.no_grad():
                forward.host.model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        hook.remove()
    every = torch.cat(keys)
    moment = moments(forward, tmp_path).get(text(corpus), [1])[1]
    expected = every.T @ every / len(every)
    assert moment.tokens == len(every)
    assert float((moment.matrix - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_has_the_same_numbers_alone_and_with_others(dtype: torch.dtype, corpus: Path, tmp_path: Path) -> None:
    forward = forward_of("llama", dtype)
    together = moments(forward, tmp_path / "together").get(text(corpus), [3, 0, 1])
    for layer in (0, 1, 3):
        alone = moments(forward, tmp_path / f"alone {layer}").get(text(corpus), [layer])[layer]
        assert alone.tokens == together[layer].tokens
        torch.testing.assert_close(alone.matrix, together[layer].matrix, rtol=1e-12, atol=1e-12)


def test_windows_change_nothing_but_rounding(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = make_forward("gpt2")
    whole = moments(forward, tmp_path / "a").get(text(corpus), [1])[1]
    monkeypatch.setattr(documents, "WINDOW", 3)
    cut = moments(forward, tmp_path / "b").get(text(corpus), [1])[1]
    assert cut.tokens == whole.tokens
    torch.testing.assert_close(cut.matrix, whole.matrix, rtol=1e-12, atol=1e-12)


# What runs, and what is held


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_nothing_above_the_last_key_runs(name: str, corpus: Path, tmp_path: Path) -> None:
    forward, ran = make_forward(name), set()
    host = forward.host
    watched = {"its own down-projection": host.down_projection(2), "next block": host.blocks[3]}
    watched |= {"lower down-projection": host.down_projection(1)}
    hooks = [module.register_forward_hook(lambda *_args, what=what: ran.add(what)) for what, module in watched.items()]
    try:
        moments(forward, tmp_path).get(text(corpus), [2])
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == {"lower down-projection"}
    assert not host.down_projection(2)._forward_pre_hooks, "a hook was left on the model"


def test_a_long_text_is_never_held_whole(tmp_path: Path) -> None:
    path, count = tmp_path / "long.txt", 100_000
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{number} " + "word " * 60 + "\n" for number in range(count))
    assert path.stat().st_size > 30e6
    source = text(path)
    corpus = Documents(lambda skip: text_lines(source, skip), count_lines(source), lambda t: [len(t)] * 50, 40)
    tracemalloc.start()
    try:
        windows = corpus.windows(WINDOW)
        first = next(windows)
        total = WINDOW + first.count
        for window in windows:
            assert window.count <= WINDOW
            total += window.count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert corpus.total == total == count
    assert {len(ids) for ids in first.documents} == {40}, "documents are cut at the context length"
    assert peak < 4e6


# What is told


def test_progress_counts_documents_and_estimates_a_long_pass(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, told = make_forward("gpt2"), list[Progress]()
    moments(forward, tmp_path / "a").get(text(corpus), [1], told.append)
    real = [line for line in LINES if line.strip()]
    assert {each.stage for each in told} == {"second moment"}
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert {each.total for each in told} == {len(real)}
    assert told[-1].done == len(real)

    monkeypatch.setattr(documents, "WINDOW", 4)
    monkeypatch.setattr(collection, "ESTIMATE_AFTER", 0.0)
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(collection.time, "monotonic", lambda: next(clock))
    del told[:]
    moments(forward, tmp_path / "b").get(text(corpus), [1], told.append)
    first = next(each for each in told if "left" in each.stage)
    assert first.stage.startswith("second moment (")
    assert "tokens/s, 0:" in first.stage
    assert told[-1].stage == "second moment", "nothing is left"


# Stopped and taken up


def whole(forward: Forward, corpus: Path, cache: Path) -> dict[int, SecondMoment]:
    return moments(forward, cache).get(text(corpus), LAYERS)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stop", range(1, BATCHES))
def test_a_stopped_pass_goes_on_bit_for_bit(
    stop: int, dtype: torch.dtype, corpus: Path, tmp_path: Path, passes: Passes
) -> None:
    forward = forward_of("gpt2", dtype)
    expected = whole(forward, corpus, tmp_path / "other")
    assert passes.count == BATCHES
    passes.count, passes.stop = 0, stop
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        whole(forward, corpus, cache)
    assert [path.suffix for path in cache.iterdir()] == [".part"]
    passes.count, passes.stop = 0, None
    got = whole(forward, corpus, cache)
    assert passes.count == BATCHES - stop
    for layer in LAYERS:
        assert torch.equal(got[layer].matrix, expected[layer].matrix)
        assert got[layer].record == expected[layer].record
    assert {path.suffix for path in cache.iterdir()} == {".safetensors"}, "the unfinished sums are still there"


@pytest.mark.usefixtures("small_windows")
def test_a_batch_that_is_half_added_is_not_kept(
    corpus: Path, tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two layers: the sums of before are all there is, and those were saved by the clock."""
    forward = make_forward("gpt2")
    expected, calls = whole(forward, corpus, tmp_path / "other"), itertools.count(1)

    def interrupted(total: Tensor, keys: Tensor) -> None:
        if next(calls) == 6:  # the second layer of the third batch
            raise KeyboardInterrupt
        add_products(total, keys)

    clock = iter([True, False])
    monkeypatch.setattr(collection, "add_products", interrupted)
    save_if_due = partial.PartialFile.save_if_due

    def at_first(self: partial.PartialFile, sums: partial.KeySums) -> None:
        if next(clock):
            monkeypatch.setattr(self, "_interval", 0.0)
            save_if_due(self, sums)

    monkeypatch.setattr(partial.PartialFile, "save_if_due", at_first)
    with pytest.raises(KeyboardInterrupt):
        whole(forward, corpus, tmp_path / "cache")
    monkeypatch.undo()
    monkeypatch.setattr(documents, "WINDOW", 4)
    passes.count, passes.stop = 0, None
    got = whole(forward, corpus, tmp_path / "cache")
    for layer in LAYERS:
        assert torch.equal(got[layer].matrix, expected[layer].matrix)


def no_position(path: Path) -> None:
    rewrite(path, lambda _tensors, facts: facts.pop("batches"))


def negative_position(path: Path) -> None:
    rewrite(path, lambda _tensors, facts: facts.update(documents=-4))


def one_layer_less(path: Path) -> None:
    rewrite(path, lambda tensors, _facts: tensors.pop("3"))


def wrong_shape(path: Path) -> None:
    rewrite(path, lambda tensors, _facts: tensors.update({"1": torch.eye(3).double()}))


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    "damage", [truncate, blank_the_end, no_position, negative_position, one_layer_less, wrong_shape]
)
def test_a_damaged_file_is_as_good_as_none(
    damage: Callable[[Path], None], corpus: Path, tmp_path: Path, passes: Passes
) -> None:
    forward = make_forward("gpt2")
    expected = whole(forward, corpus, tmp_path / "other")
    passes.count, passes.stop = 0, 5
    with pytest.raises(KeyboardInterrupt):
        whole(forward, corpus, tmp_path / "cache")
    (part,) = (tmp_path / "cache").iterdir()
    damage(part)
    passes.count, passes.stop = 0, None
    got = whole(forward, corpus, tmp_path / "cache")
    assert passes.count == BATCHES
    for layer in LAYERS:
        assert torch.equal(got[layer].matrix, expected[layer].matrix)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    ("options", "layers"), [({"max_tokens": 60}, LAYERS), ({"fingerprint": "another"}, LAYERS), ({}, [1])]
)
def test_only_the_same_pass_goes_on(
    options: dict[str, Any], layers: list[int], corpus: Path, tmp_path: Path, passes: Passes
) -> None:
    forward = make_forward("gpt2")
    moments(forward, tmp_path / "other", **options).get(text(corpus), layers)
    batches, passes.count, passes.stop = passes.count, 0, 5
    with pytest.raises(KeyboardInterrupt):
        whole(forward, corpus, tmp_path / "cache")
    passes.count, passes.stop = 0, None
    moments(forward, tmp_path / "cache", **options).get(text(corpus), layers)
    assert passes.count == batches


@pytest.mark.usefixtures("small_windows")
def test_an_error_keeps_the_work_too(corpus: Path, tmp_path: Path, passes: Passes) -> None:
    forward = make_forward("gpt2")
    passes.stop, passes.error = 7, RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        whole(forward, corpus, tmp_path)
    passes.count, passes.stop = 0, None
    whole(forward, corpus, tmp_path)
    assert passes.count == BATCHES - 7


def test_a_moment_of_work_leaves_no_file(corpus: Path, tmp_path: Path, passes: Passes) -> None:
    passes.stop = 3
    with pytest.raises(KeyboardInterrupt):
        moments(make_forward("gpt2"), tmp_path / "cache").get(text(corpus), LAYERS)
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("small_windows")
def test_sums_that_cannot_be_kept_only_cost_time(corpus: Path, tmp_path: Path, passes: Passes) -> None:
    (tmp_path / "file").write_text("in the way")
    passes.stop = 3
    with pytest.raises(KeyboardInterrupt):
        whole(make_forward("gpt2"), corpus, tmp_path / "file" / "cache")
    passes.stop = None
    assert whole(make_forward("gpt2"), corpus, tmp_path / "file" / "cache")[1].tokens > 0


class _Stream:
    def __init__(self, rows: list[str], skipped: list[int]) -> None:
        self.rows, self.skipped = rows, skipped

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter([{"text": row} for row in self.rows])

    def skip(self, count: int) -> _Stream:
        self.skipped.append(count)
        return _Stream(self.rows[count:], self.skipped)


@pytest.mark.usefixtures("small_windows")
def test_a_data_set_goes_on_behind_what_was_read(
    tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, skipped = ModuleType("datasets"), list[int]()
    module.load_dataset = lambda *_args, **_options: _Stream(LINES, skipped)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    source, forward = MomentSource("datasets", "owner/name", samples=13), make_forward("gpt2")
    expected = moments(forward, tmp_path / "other").get(source, [1])[1]
    assert skipped == []
    batches, passes.count = passes.count, 0
    passes.stop = batches - 1
    with pytest.raises(KeyboardInterrupt):
        moments(forward, tmp_path / "cache").get(source, [1])
    passes.stop = None
    got = moments(forward, tmp_path / "cache").get(source, [1])[1]
    assert skipped == [12]
    assert passes.count == batches
    assert torch.equal(got.matrix, expected.matrix)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the caller ignores the signal
from pytest_editpitfalls.engine.moments import documents, partial
from tests.engine import test_second_moments_pass as tests

corpus, cache, number, save = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
documents.WINDOW, partial.WORTH_SECONDS, partial.SAVE_SECONDS = 4, 0.0, save
partial.SAVE_SHARE = 0
batches, blocks = 0, tests.Forward.blocks

def killed(self, rows, **options):
    global batches
    batches += 1
    if batches == 6:
        os.kill(os.getpid(), number)
    return blocks(self, rows, **options)

tests.Forward.blocks = killed
tests.whole(tests.forward_of("gpt2", torch.float32), corpus, cache)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(("number", "save"), [(signal.SIGKILL, 0.0), (signal.SIGTERM, 1e9), (signal.SIGINT, 1e9)])
def test_a_killed_process_is_taken_up_by_the_next(
    number: signal.Signals, save: float, corpus: Path, tmp_path: Path, passes: Passes
) -> None:
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(corpus), str(cache), str(int(number)), str(save)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -number, done.stderr[-2000:]
    (part,) = cache.iterdir()
    assert part.suffix == ".part"
    (cache / f"{part.name}.abc.tmp").write_bytes(b"what a killed writer leaves")
    forward, threads = forward_of("gpt2", torch.float32), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        got = whole(forward, corpus, cache)
        assert passes.count == BATCHES - 5
        expected = whole(forward, corpus, tmp_path / "other")
    finally:
        torch.set_num_threads(threads)
    for layer in LAYERS:
        assert torch.equal(got[layer].matrix, expected[layer].matrix)
    assert {path.suffix for path in cache.iterdir()} == {".safetensors"}


def test_saving_takes_a_small_share_of_the_time(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass over a batch takes 10 s and each saving 30 s, by this clock."""
    now, saved = [0.0], list[float]()

    def slow(*_args: Any) -> bool:
        now[0] += 30.0
        saved.append(now[0])
        return True

    def told(progress: Progress) -> None:
        now[0] += 100.0

    monkeypatch.setattr(partial, "write_tensors", slow)
    monkeypatch.setattr(partial.time, "monotonic", lambda: now[0])
    many = tmp_path / "many.txt"
    many.write_text("\n".join(LINES * 12), encoding="utf-8")
    moments(make_forward("gpt2"), tmp_path / "cache", max_tokens=60).get(text(many), [1], told)
    assert len(saved) > 3
    assert saved[0] <= partial.SAVE_SECONDS + 230
    gaps = [later - earlier for earlier, later in itertools.pairwise(saved)]
    assert min(gaps) >= partial.SAVE_SHARE * 30
    assert max(gaps) <= partial.SAVE_SHARE * 30 + 230


# The model's own text


def test_sampled_text_is_drawn_once_for_all_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, drawn = make_forward("llama"), list[int]()
    sampled_documents = second_moments.sampled_documents

    def counted(*args: Any, **options: Any) -> list[list[int]]:
        drawn.append(1)
        return sampled_documents(*args, **options)

    monkeypatch.setattr(second_moments, "sampled_documents", counted)
    source, told = MomentSource(tokens=200), list[Progress]()
    expected = moments(forward, tmp_path / "other").get(source, [2], told.append)[2]
    sampling = [each.done for each in told if each.stage == second_moments.SAMPLING]
    assert sampling == sorted(sampling)
    assert sampling[-1] >= 200
    assert len(sampling) > 10
    del drawn[:]
    moments(forward, tmp_path / "cache").get(source, [1])
    got = moments(forward, tmp_path / "cache").get(source, [2])[2]
    assert len(drawn) == 1
    assert torch.equal(got.matrix, expected.matrix)
    moments(forward, tmp_path / "cache", fingerprint="another").get(source, [1])
    assert len(drawn) == 2
    moments(forward, tmp_path / "cache").get(MomentSource(tokens=200, seed=1), [1])
    assert len(drawn) == 3
    for path in (tmp_path / "cache").iterdir():
        truncate(path)
    again = moments(forward, tmp_path / "cache").get(source, [2])[2]
    assert len(drawn) == 4
    assert torch.equal(again.matrix, expected.matrix)
