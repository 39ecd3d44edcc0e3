"""GGUF files are converted once, and the converted model is the directly loaded one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from tiny_gguf import write_tiny_gguf

from pytest_editpitfalls.engine.models import gguf as conversion
from pytest_editpitfalls.engine.models import gguf_reading, load, prepare, resolve
from pytest_editpitfalls.errors import UsageError

TEXT = "The capital of France is Zürich,  two spaces"


@pytest.mark.parametrize("tied", [True, False])
def test_converted_equals_directly_loaded(tied: bool, tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", tied=tied)
    source = resolve(str(gguf), cache_dir=tmp_path / "cache")
    model, tokenizer = load(source, device="cpu")
    direct, its_tokenizer = conversion.load_gguf(gguf)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    assert ids.tolist() == its_tokenizer(TEXT, return_tensors="pt").input_ids.tolist()
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        assert torch.equal(logits, direct(input_ids=ids).logits)
    assert logits.std() > 0.5
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) is tied
    assert type(model.model.layers[0].mlp.down_proj) is torch.nn.Linear


def test_converted_once_and_keyed_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    cache = tmp_path / "cache"
    first = prepare(resolve(str(write_tiny_gguf(tmp_path / "a.gguf")), cache_dir=cache), said.append)
    assert first is not None
    assert said == ["converting a.gguf (once; later runs load the converted model)"]
    assert {path.name for path in first.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert "quantization_config" not in json.loads((first / "config.json").read_text())
    other = prepare(resolve(str(write_tiny_gguf(tmp_path / "b.gguf", seed=1)), cache_dir=cache))
    assert other != first
    monkeypatch.setattr(conversion, "load_gguf", lambda path: pytest.fail("converted twice"))
    again = write_tiny_gguf(tmp_path / "renamed.gguf")
    assert prepare(resolve(str(again), cache_dir=cache)) == first


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "load_gguf", broken)
    source = resolve(str(write_tiny_gguf(tmp_path / "a.gguf")), cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="No space left on device"):
        prepare(source)
    assert [path for path in (tmp_path / "cache" / "converted").iterdir() if path.is_dir()] == []


def test_no_room_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: conversion.shutil._ntuple_diskusage(9, 9, 0))
    source = resolve(str(write_tiny_gguf(tmp_path / "a.gguf")), cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match=r"disk space in .* are available"):
        prepare(source)


def test_damaged_file(tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "a.gguf")
    gguf.write_bytes(gguf.read_bytes()[:3000])
    with pytest.raises(UsageError, match="the file is damaged"):
        prepare(resolve(str(gguf), cache_dir=tmp_path / "cache"))


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    source = resolve(str(write_tiny_gguf(tmp_path / "a.gguf")), cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="cache directory cannot be written"):
        prepare(source)


def test_the_header_is_read_once_and_as_the_package_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf as package

    path = tmp_path / "a.gguf"
    writer = package.GGUFWriter(path, "llama")
    writer.add_array("some.words", ["", "Zürich", "x" * 300])
    writer.add_array("some.numbers", [1, -2, 3])
    writer.add_array("some.floats", [0.5, 1.5])
    writer.add_array("some.switches", [True, False])
    writer.add_string("some.text", "text")
    writer.add_tensor("a.weight", torch.arange(6.0).reshape(2, 3).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    plain = package.GGUFReader(path)
    with gguf_reading.read_once() as read:
        quick = package.GGUFReader(str(path))
        assert read(path) is quick
    assert package.GGUFReader is type(plain)
    assert list(quick.fields) == list(plain.fields)
    for name, field in plain.fields.items():
        other = quick.fields[name]
        assert (other.offset, other.data, other.types) == (field.offset, field.data, field.types)
        assert [(part.dtype, part.tolist()) for part in other.parts] == [
            (part.dtype, part.tolist()) for part in field.parts
        ]
    assert [(each.name, each.data.tolist()) for each in quick.tensors] == [
        (each.name, each.data.tolist()) for each in plain.tensors
    ]
    made: list[object] = []
    kind = gguf_reading.bounded_reader()
    first = kind.__init__
    monkeypatch.setattr(kind, "__init__", lambda self, *args: (made.append(self), first(self, *args))[1])
    prepare(resolve(str(write_tiny_gguf(tmp_path / "b.gguf")), cache_dir=tmp_path / "cache"))
    assert len(made) == 1


@pytest.mark.parametrize("kind", ["STRING", "UINT32"])
def test_an_array_that_is_longer_than_the_file_is_refused(kind: str, tmp_path: Path) -> None:
    from gguf import GGUFValueType

    path = tmp_path / "a.gguf"
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    path.write_bytes(header + struct.pack("<IIQ", GGUFValueType.ARRAY, GGUFValueType[kind], 2**40) + bytes(64))
    with pytest.raises(ValueError):
        gguf_reading.bounded_reader()(path)
