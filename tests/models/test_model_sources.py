"""What a name on the command line means, before anything is fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

from pytest_editpitfalls.engine.models import CACHE_VARIABLE, KNOWN_MODELS, cache_directory, resolve
from pytest_editpitfalls.engine.models.source import sanitised
from pytest_editpitfalls.errors import UsageError


@pytest.mark.parametrize(
    ("name", "kind", "short", "hub_id"),
    [
        ("smollm2-135m", "embedded", "smollm2-135m", None),
        ("SmolLM2-135M", "embedded", "smollm2-135m", None),
        ("gpt2-xl", "hub", "gpt2-xl", "openai-community/gpt2-xl"),
        ("GPT2-XL", "hub", "gpt2-xl", "openai-community/gpt2-xl"),
        ("gptj", "hub", "gpt-j-6b", "EleutherAI/gpt-j-6B"),
        ("EleutherAI/gpt-j-6B", "hub", "gpt-j-6b", "EleutherAI/gpt-j-6B"),
        ("x/SmolLM2-135M-Instruct", "hub", "SmolLM2-135M-Instruct", "x/SmolLM2-135M-Instruct"),
        ("someone/Some_Model", "hub", "Some_Model", "someone/Some_Model"),
    ],
)
def test_names(name: str, kind: str, short: str, hub_id: str | None, tmp_path: Path) -> None:
    source = resolve(name, cache_dir=tmp_path)
    assert (source.kind, source.short_name, source.hub_id) == (kind, short, hub_id)


def test_revision_of_a_hub_id(tmp_path: Path) -> None:
    source = resolve("EleutherAI/gpt-j-6B@float16", cache_dir=tmp_path)
    assert (source.hub_id, source.revision) == ("EleutherAI/gpt-j-6B", "float16")


def test_directory_and_gguf(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    (tmp_path / "my model" / "config.json").write_text("{}")
    directory = resolve(str(tmp_path / "my model"))
    assert (directory.kind, directory.short_name) == ("directory", "my-model")
    gguf = write_tiny_gguf(tmp_path / "tiny.Q8_0.gguf")
    assert resolve(str(gguf)).short_name == "tiny.Q8_0"
    assert resolve(str(tmp_path)).path == gguf


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt2-xll", "did you mean 'gpt2-xl'"),
        ("smollm2-135", "did you mean 'smollm2-135m'"),
        ("", "unknown model"),
        ("./missing", "no such file or directory"),
        ("missing.gguf", "no such file or directory"),
        ("a/b/c", "unknown model"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(name)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "wrong.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="not a GGUF file"):
        resolve(str(tmp_path / "wrong.gguf"))
    write_tiny_gguf(tmp_path / "a.gguf")
    with pytest.raises(UsageError, match=r"holds 2 \.gguf files"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("name", ["a b/c", "x[1]::y", "...", "", "Modell-ä"])
def test_short_names_fit_into_node_ids(name: str) -> None:
    assert set(sanitised(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert sanitised(name)


def test_short_names_are_unique_ids() -> None:
    assert len({hub_id.lower() for hub_id in KNOWN_MODELS.values()}) == len(KNOWN_MODELS)
    assert all(sanitised(short) == short for short in KNOWN_MODELS)


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere"
    assert cache_directory(tmp_path) == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert "pytest-editpitfalls" in str(cache_directory())


def test_resolving_imports_no_torch() -> None:
    code = (
        "import sys; from pytest_editpitfalls.engine.models import resolve; resolve('gpt2-xl');"
        "from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters;"
        "from pytest_editpitfalls.engine.editors.rome.hyperparameters import RomeHyperparameters;"
        "resolve_hyperparameters('rome', RomeHyperparameters, 'gpt2-xl', 48);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
