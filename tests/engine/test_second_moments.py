"""Second moments: the numbers against a plain document-by-document sum, the cache, the sources and their mistakes."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.moments import (
    SAMPLED_LENGTH,
    TOKENS_PER_DIMENSION,
    SecondMoment,
    SecondMoments,
    second_moments,
    tensor_files,
)
from pytest_editpitfalls.errors import UsageError
from tests.engine.conftest import make_forward
from tests.tiny_models import tiny_model

LINES = [
    "The capital of France is Paris.",
    "",
    "The mother of the king is the queen of Spain.",
    "   \t ",
    "He is married to her, and she is married to him.",
    "One, two, three.",
    "Rome",
    "Danielle Darrieux speaks French, and José 日本. " * 20,
]
CONTEXT = 256
"""Context length of the tiny models; the last line is longer."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def moments(forward: Forward, cache: Path, **options: Any) -> SecondMoments:
    return SecondMoments(forward, **{"fingerprint": "tiny", "cache": cache, "max_tokens": 600, **options})


def text(path: Path, **options: Any) -> MomentSource:
    return MomentSource("text", str(path), **options)


def plain(forward: Forward, layer: int) -> tuple[Tensor, int]:
    """C and its number of tokens: one document after another, whole model, no padding."""
    host, keys = forward.host, []
    hook = host.down_projection(layer).register_forward_pre_hook(
        lambda _m, args: keys.append(args[0].reshape(-1, args[0].shape[-1]).double())
    )
    try:
        for line in filter(str.strip, LINES):
            ids = host.tokenizer(line)["input_ids"][:CONTEXT]
            with torch.no_grad():
                host.model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        hook.remove()
    every = torch.cat(keys)
    return every.T @ every / len(every), len(every)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rows]]:
    """The batches that any model has run since."""
    ran: list[Rows] = []
    blocks = Forward.blocks

    def counted(self: Forward, rows: Rows, **options: Any) -> Tensor:
        ran.append(rows)
        return blocks(self, rows, **options)

    monkeypatch.setattr(Forward, "blocks", counted)
    return iter([ran])


# Numbers


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gemma2", "qwen2"])
def test_c_of_a_text_is_the_plain_sum_over_documents(
    name: str, corpus: Path, tmp_path: Path, passes: Iterator[list[Rows]]
) -> None:
    """Every token counts, the BOS too; blank lines are no documents; long ones are cut; padding does not count."""
    forward, ran = make_forward(name), next(passes)
    got = moments(forward, tmp_path / "cache").get(text(corpus), [0, 2, 3])
    batches = len(ran)
    assert any(len(rows.ids) > 1 for rows in ran), "nothing was batched, so padding was not tested"
    lengths = [len(forward.host.tokenizer(line)["input_ids"]) for line in LINES if line.strip()]
    assert max(lengths) > CONTEXT, "no document was cut"
    bound = 1e-5 if name == "gemma2" else 1e-10  # Gemma 2's attention rounds to float32 in any model
    for layer in (0, 2, 3):
        matrix, tokens = plain(forward, layer)
        assert got[layer].tokens == tokens == sum(min(length, CONTEXT) for length in lengths)
        assert got[layer].matrix.dtype == torch.float64
        assert float((got[layer].matrix - matrix).norm() / matrix.norm()) < bound
        assert got[layer].ridge == 0
        assert got[layer].record["tokens"] == tokens
        assert got[layer].record["module"] == forward.host.down_projection_path(layer)
    alone = moments(forward, tmp_path / "other")
    del ran[:]
    alone.get(text(corpus), [3])
    assert len(ran) == batches, "three layers took more passes than one"


def test_the_bos_is_among_the_tokens(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("Rome", encoding="utf-8")
    forward = make_forward("llama")
    tokenizer = forward.host.tokenizer
    bare = len(tokenizer("Rome", add_special_tokens=False)["input_ids"])
    assert moments(forward, tmp_path / "cache").get(text(path), [1])[1].tokens == bare + 1


def test_windows_line_ends_and_a_last_line_end_change_nothing(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "windows.txt"
    other.write_bytes(("\r\n".join(LINES) + "\r\n").encode())
    forward = make_forward("gpt2")
    ours = [moments(forward, tmp_path / path.stem).get(text(path), [1])[1].matrix for path in (corpus, other)]
    assert torch.equal(*ours)


def test_samples_limits_the_documents(corpus: Path, tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    first = [line for line in LINES if line.strip()][:2]
    wanted = sum(len(forward.host.tokenizer(line)["input_ids"]) for line in first)
    assert moments(forward, tmp_path).get(text(corpus, samples=2), [1])[1].tokens == wanted


# Ridge and solving


def test_automatic_ridge_is_for_sampled_text_only(corpus: Path, tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    ours = moments(forward, tmp_path)
    sampled = ours.get(MomentSource(tokens=640), [1])[1]
    d_k = forward.host.matrix_shape(1)[1]
    mean_eigenvalue = float(torch.linalg.eigvalsh(sampled.matrix).mean())
    assert sampled.tokens == 640
    assert sampled.ridge == pytest.approx(d_k / (10 * 640) * mean_eigenvalue)
    assert sampled.record["ridge"] == d_k / 6400
    assert ours.get(MomentSource(tokens=640, ridge=0.0), [1])[1].ridge == 0
    asked = ours.get(text(corpus, ridge=0.25), [1])[1]
    assert asked.ridge == pytest.approx(0.25 * float(asked.matrix.trace()) / d_k)


def test_the_default_takes_eight_tokens_per_dimension(tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    d_k = forward.host.matrix_shape(0)[1]
    tokens = moments(forward, tmp_path).get(MomentSource(), [0])[0].tokens
    wanted = TOKENS_PER_DIMENSION * d_k
    assert wanted <= tokens < wanted + SAMPLED_LENGTH


def moment_of(matrix: Tensor, ridge: float = 0.0) -> SecondMoment:
    record = {"module": "blocks.1.down", "source": {"kind": "text", "reference": "corpus.txt"}}
    return SecondMoment(matrix, 90, ridge, record)


def test_solve_is_the_inverse_with_the_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    c, some = keys.T @ keys / 200, keys[:3]
    moment = moment_of(c, 0.5)
    expected = torch.linalg.solve(c + 0.5 * torch.eye(12, dtype=torch.float64), some.T).T
    torch.testing.assert_close(moment.solve(some), expected)
    torch.testing.assert_close(moment.solve(some.float()), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moment.matrix, c)  # the matrix itself stays without the ridge


def test_too_little_text_is_an_error_that_names_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("The capital of France is Paris.", encoding="utf-8")
    forward = make_forward("gpt2")
    moment = moments(forward, tmp_path).get(text(path), [1])[1]
    keys = torch.ones(1, forward.host.matrix_shape(1)[1])
    with pytest.raises(UsageError) as caught:
        moment.solve(keys)
    assert "singular" in caught.value.what
    assert f"{moment.tokens} tokens for {keys.shape[1]} dimensions" in caught.value.what
    assert caught.value.where == "mom2 source text short.txt"
    assert "mom2_ridge=" in (caught.value.fix or "")
    assert moments(forward, tmp_path).get(text(path, ridge=0.01), [1])[1].solve(keys).isfinite().all()


@pytest.mark.parametrize("seed", range(12))
def test_a_rank_short_by_one_is_never_inverted(seed: int) -> None:
    """Rounding leaves a last pivot of either sign; a factorisation that happens to go through is no inverse."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(39, 40, generator=generator, dtype=torch.float64)
    with pytest.raises(UsageError, match="singular"):
        moment_of(keys.T @ keys).solve(keys[:1])


def test_dimensions_of_very_different_size_are_not_singular() -> None:
    """Massive activations: some key entries are millions of times larger than others."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(-9, 9, 20, dtype=torch.float64)
    keys = torch.randn(400, 20, generator=generator, dtype=torch.float64)
    wanted = torch.linalg.solve(keys.T @ keys, (keys[:2] / scale).T).T / scale
    keys = keys * scale
    got = moment_of(keys.T @ keys).solve(keys[:2] / scale**2 * scale)
    torch.testing.assert_close(got * scale, wanted * scale, rtol=1e-8, atol=1e-12)


# Cache


def file_of(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_a_second_session_reads_the_cache(corpus: Path, tmp_path: Path, passes: Iterator[list[Rows]]) -> None:
    forward, ran, cache = make_forward("llama"), next(passes), tmp_path / "cache"
    first = moments(forward, cache).get(text(corpus), [1, 2])
    assert ran
    del ran[:]
    second = moments(forward, cache).get(text(corpus), [1, 2])
    assert not ran
    for layer in (1, 2):
        assert torch.equal(first[layer].matrix, second[layer].matrix)
        assert first[layer].tokens == second[layer].tokens
        assert first[layer].record == second[layer].record
    moments(forward, cache).get(text(corpus), [1, 3])
    assert len(list(cache.iterdir())) == 3
    del ran[:]
    moments(forward, cache, fingerprint="another model").get(text(corpus), [1])
    assert ran, "another model's matrix was taken"


def test_the_key_is_the_content_not_the_name(corpus: Path, tmp_path: Path, passes: Iterator[list[Rows]]) -> None:
    forward, ran, cache = make_forward("gpt2"), next(passes), tmp_path / "cache"
    before = moments(forward, cache).get(text(corpus), [1])[1]
    copy = tmp_path / "elsewhere" / "copy.txt"
    copy.parent.mkdir()
    copy.write_bytes(corpus.read_bytes())
    del ran[:]
    again = moments(forward, cache).get(text(copy), [1])[1]
    assert not ran
    assert torch.equal(before.matrix, again.matrix)
    assert again.record["source"]["reference"] == "copy.txt"
    corpus.write_text("Another text under the old name. " * 9, encoding="utf-8")
    after = moments(forward, cache).get(text(corpus), [1])[1]
    assert ran
    assert not torch.equal(before.matrix, after.matrix)


def test_another_ridge_shares_the_cache(corpus: Path, tmp_path: Path, passes: Iterator[list[Rows]]) -> None:
    forward, ran, cache = make_forward("gpt2"), next(passes), tmp_path / "cache"
    plain_one = moments(forward, cache).get(text(corpus), [1])[1]
    del ran[:]
    ours = moments(forward, cache)
    ridged, same = ours.get(text(corpus, ridge=0.5), [1])[1], ours.get(text(corpus), [1])[1]
    assert not ran
    assert torch.equal(plain_one.matrix, ridged.matrix)
    assert ridged.ridge > plain_one.ridge == same.ridge == 0
    assert ridged.record["ridge"] == 0.5


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"not a tensor file at all" * 20)


def blank_the_end(path: Path) -> None:
    """What a crash of the machine leaves: the right length, the last blocks never written."""
    data = path.read_bytes()
    path.write_bytes(data[: -len(data) // 3] + bytes(len(data) // 3))


def not_finite(path: Path) -> None:
    matrix = load_file(path)["mom2"].clone()
    matrix[0, 0] = torch.nan
    assert tensor_files.write_tensors(path, {"mom2": matrix}, {"tokens": 5})


def wrong_shape(path: Path) -> None:
    assert tensor_files.write_tensors(path, {"mom2": torch.eye(3).double()}, {"tokens": 5})


def no_tokens(path: Path) -> None:
    assert tensor_files.write_tensors(path, load_file(path), {})


def another_name(path: Path) -> None:
    assert tensor_files.write_tensors(path, {"sum": load_file(path)["mom2"]}, {"tokens": 5})


def facts_of_another_kind(path: Path) -> None:
    metadata = {"facts": "[5]", "norms": "{}"}
    save_file(load_file(path), path, metadata=metadata)


def no_metadata(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        scribble,
        blank_the_end,
        not_finite,
        wrong_shape,
        no_tokens,
        another_name,
        facts_of_another_kind,
        no_metadata,
    ],
)
def test_a_damaged_file_is_computed_again_and_repaired(
    damage: Callable[[Path], None], corpus: Path, tmp_path: Path, passes: Iterator[list[Rows]]
) -> None:
    forward, ran, cache = make_forward("gpt2"), next(passes), tmp_path / "cache"
    before = moments(forward, cache).get(text(corpus), [1])[1]
    damage(file_of(cache))
    del ran[:]
    after = moments(forward, cache).get(text(corpus), [1])[1]
    assert ran, "the damaged file was believed"
    assert torch.equal(before.matrix, after.matrix)
    del ran[:]
    moments(forward, cache).get(text(corpus), [1])
    assert not ran, "the file was not repaired"


def test_a_cache_that_cannot_be_written_only_costs_time(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    moment = moments(make_forward("gpt2"), tmp_path / "file" / "cache").get(text(corpus), [1])[1]
    assert moment.tokens > 0


def test_a_full_disk_leaves_nothing_half_written(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    moment = moments(make_forward("gpt2"), tmp_path / "cache").get(text(corpus), [1])[1]
    assert moment.tokens > 0
    assert list((tmp_path / "cache").iterdir()) == []


def fresh_forward() -> Forward:
    model, tokenizer = tiny_model("gpt2", dtype=torch.float64)
    return Forward(ModelAdapter.of(model, tokenizer, family_for(model.config)))


def test_writers_at_the_same_time(corpus: Path, tmp_path: Path) -> None:
    """Several processes compute the same matrix: the file is whole whenever somebody reads it."""
    cache, results, errors = tmp_path / "cache", {}, []
    together = threading.Barrier(3)

    def session(number: int, forward: Forward) -> None:
        try:
            ours = moments(forward, cache)
            together.wait(30)
            results[number] = moment = ours.get(text(corpus), [1])[1]
            content = second_moments._content_key(text(corpus), "cpu")
            path, facts = ours._matrix_path(content, 1), {"tokens": moment.tokens, "record": moment.record}
            for _ in range(20):
                assert tensor_files.write_tensors(path, {"mom2": moment.matrix}, facts)
                found = ours._read(text(corpus), content, 1)
                assert found is not None, "a half-written file was seen"
                assert torch.equal(found.matrix, moment.matrix)
        except BaseException as error:
            errors.append(error)
            together.abort()

    threads = [threading.Thread(target=session, args=(n, fresh_forward())) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert torch.equal(results[0].matrix, results[1].matrix)
    assert torch.equal(results[0].matrix, results[2].matrix)
    assert file_of(cache).suffix == ".safetensors"  # one file, nothing temporary


# Sampled text


def test_sampled_text_is_seeded_and_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    forward = make_forward("llama")

    def sampled(seed: int, cache: str) -> Tensor:
        return moments(forward, tmp_path / cache).get(MomentSource(tokens=200, seed=seed), [1])[1].matrix

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = sampled(0, "a")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first, sampled(0, "b"))
    other = sampled(1, "a")  # the same cache directory: the seed is part of the key
    assert float((first - other).norm() / first.norm()) > 1e-3


# Published matrices


def npz(path: Path, **arrays: Any) -> MomentSource:
    np.savez(path, **{name.replace("__", "."): value for name, value in arrays.items()})
    return MomentSource("npz", str(path))


def total(forward: Forward, tokens: int = 300) -> np.ndarray[Any, Any]:
    d_k = forward.host.matrix_shape(1)[1]
    keys = np.random.default_rng(0).normal(size=(tokens, d_k))
    return keys.T @ keys


def test_a_published_npz_holds_a_sum_and_a_count(tmp_path: Path, passes: Iterator[list[Rows]]) -> None:
    forward, ran = make_forward("gpt2"), next(passes)
    wanted = total(forward)
    source = npz(
        tmp_path / "m.npz",
        mom2__mom2=wanted.astype(np.float32),
        mom2__count=300,
        mom2__constructor="util.runningstats.SecondMoment()",
        sample_size=100_000,
    )
    moment = moments(forward, tmp_path / "cache").get(source, [1])[1]
    assert (moment.tokens, moment.ridge, ran) == (300, 0, [])
    np.testing.assert_allclose(moment.matrix.numpy(), wanted / 300, rtol=1e-5, atol=1e-5)
    assert moment.record["source"]["kind"] == "npz"
    assert moment.record["source"]["reference"] == "m.npz"


class _Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    pickle.loads(pickle.dumps(_Evil(touched)))
    assert touched.exists()
    touched.unlink()
    for name, evil in {
        "a.npz": {"mom2__mom2": np.array([_Evil(touched)], dtype=object), "mom2__count": 3},
        "b.npz": {
            "mom2__mom2": total(make_forward("gpt2")),
            "mom2__count": np.array(_Evil(touched), dtype=object),
        },
    }.items():
        with pytest.raises(UsageError, match="not a second-moment file"):
            moments(make_forward("gpt2"), tmp_path / "cache").get(npz(tmp_path / name, **evil), [1])
    assert not touched.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mom2__mom2": np.eye(3)}, r"shape \(3, 3\).*needs a finite \(128, 128\)"),
        ({"mom2__mom2": np.zeros((128, 1))}, r"shape \(128, 1\)"),
        ({"mom2__mom2": np.full((128, 128), np.nan)}, "finite"),
        ({"mom2__mom2": np.array(["text"])}, "not a second-moment file"),
        ({"mom2__count": 0}, "0 tokens"),
        ({"mom2__count": np.arange(3)}, "not a second-moment file"),
    ],
)
def test_wrong_arrays(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    arrays = {"mom2__mom2": np.eye(128), "mom2__count": 7, **change}
    with pytest.raises(UsageError, match=message) as caught:
        moments(make_forward("gpt2"), tmp_path / "cache").get(npz(tmp_path / "m.npz", **arrays), [1])
    assert caught.value.where == str(tmp_path / "m.npz")
    assert caught.value.fix
    assert not (tmp_path / "cache").exists(), "a wrong file left something in the cache"


def test_wrong_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mom2\.mom2") as caught:
        moments(make_forward("gpt2"), tmp_path).get(npz(tmp_path / "m.npz", mom2=np.eye(128), count=7), [1])
    assert "'mom2.count'" in (caught.value.fix or "")


def as_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.eye(128))


def as_half_a_zip(path: Path) -> None:
    np.savez(path, **{"mom2.mom2": np.eye(128), "mom2.count": 7})
    truncate(path)


def as_a_bad_checksum(path: Path) -> None:
    np.savez(path, **{"mom2.mom2": np.eye(128), "mom2.count": 7})
    data = bytearray(path.read_bytes())
    data[5000] ^= 0xFF
    path.write_bytes(data)


def as_a_bad_stream(path: Path) -> None:
    np.savez_compressed(path, **{"mom2.mom2": total(make_forward("gpt2")), "mom2.count": 7})
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)


@pytest.mark.parametrize("make", [as_npy, as_half_a_zip, as_a_bad_stream, as_a_bad_checksum, empty, scribble])
def test_files_that_are_no_npz(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    make(path)
    with pytest.raises(UsageError, match="not a second-moment file") as caught:
        moments(make_forward("gpt2"), tmp_path / "cache").get(MomentSource("npz", str(path)), [1])
    assert caught.value.where == str(path)


def test_one_npz_is_not_two_layers(tmp_path: Path) -> None:
    source = npz(tmp_path / "m.npz", mom2__mom2=np.eye(128), mom2__count=7)
    ours = moments(make_forward("gpt2"), tmp_path / "cache")
    with pytest.raises(UsageError, match="one layer"):
        ours.get(source, [1, 2])
    ours.get(source, [1])
    with pytest.raises(UsageError, match="one layer"):
        ours.get(source, [1, 2])


# Mistakes in the other sources


@pytest.mark.parametrize("kind", ["text", "npz"])
def test_a_missing_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "absent"
    with pytest.raises(UsageError, match="No such file") as caught:
        moments(make_forward("gpt2"), tmp_path).get(MomentSource(kind, str(path)), [1])
    assert caught.value.where == str(path)
    with pytest.raises(UsageError, match="cannot read"):
        moments(make_forward("gpt2"), tmp_path).get(MomentSource(kind, str(tmp_path)), [1])


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n  \n\t\n", "no text"), (b"", "no text"), (b"caf\xe9\n", "not UTF-8")]
)
def test_a_corpus_without_text(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        moments(make_forward("gpt2"), tmp_path / "cache").get(text(path), [1])
    assert caught.value.where == str(path)


def test_the_datasets_package_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="need the 'datasets' package") as caught:
        moments(make_forward("gpt2"), tmp_path).get(MomentSource("datasets", "owner/name"), [1])
    assert "owner/name" in (caught.value.where or "")
    assert "pytest-editpitfalls[datasets]" in (caught.value.fix or "")


def fake_datasets(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_data_set_gives_what_its_texts_give(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> Iterator[dict[str, str]]:
        asked.append((args, options))
        return iter([{"text": line} for line in LINES if line.strip()])

    fake_datasets(monkeypatch, load)
    forward = make_forward("gpt2")
    source = MomentSource("datasets", "owner/name:20200501.en", samples=3)
    got = moments(forward, tmp_path / "cache").get(source, [1])[1]
    assert asked == [(("owner/name", "20200501.en"), {"split": "train", "streaming": True})]
    expected = moments(forward, tmp_path / "other").get(text(corpus, samples=3), [1])[1]
    assert torch.equal(got.matrix, expected.matrix)
    assert got.ridge == 0


@pytest.mark.parametrize("problem", [ConnectionError("no network"), KeyError("text")])
def test_a_data_set_that_does_not_come(problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise problem

    fake_datasets(monkeypatch, load)
    with pytest.raises(UsageError, match="cannot load the data set") as caught:
        moments(make_forward("gpt2"), tmp_path).get(MomentSource("datasets", "owner/name"), [1])
    assert "owner/name" in (caught.value.where or "")
