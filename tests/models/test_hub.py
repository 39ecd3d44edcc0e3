"""A Hugging Face model without a network: one message within three seconds, or the copy in the local cache."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from test_adapters import down_projections, write_adapter
from tiny_models import save_tiny

from pytest_editpitfalls.engine.models import hub, prepare, resolve
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError

LIMIT = 30.0
"""Seconds on a busy machine; the client of Hugging Face tries again for minutes."""


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[str]:
    """A hub that knows no model: it is reached."""

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The hub of the fixture that the test names, asked anew, with an empty cache of models."""
    name = request.param
    address: str = request.getfixturevalue(name) if name.isidentifier() else name
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    monkeypatch.setattr(hub, "_ANSWERS", {})
    return address


@pytest.mark.parametrize("endpoint", ["silent", "refusing", "http://192.0.2.1"], indirect=True)
def test_one_message_within_three_seconds(endpoint: str) -> None:
    assert hub.PATIENCE <= 2.0  # the rest is imports
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        EngineSession.open(EngineSettings("some/model"))
    assert time.monotonic() - started < LIMIT
    assert caught.value.where == "model 'some/model'"
    assert (
        f"'some/model' is not in the local cache, and Hugging Face cannot be reached at {endpoint}" in caught.value.what
    )
    assert "hf download some/model --local-dir DIR" in str(caught.value.fix)


@pytest.mark.parametrize("endpoint", ["silent"], indirect=True)
def test_offline_by_the_environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="not in the local cache, and HF_HUB_OFFLINE forbids asking Hugging Face"):
        EngineSession.open(EngineSettings("gpt2-xl"))
    assert not hub._ANSWERS, "nobody was asked"


@pytest.mark.parametrize("endpoint", ["silent"], indirect=True)
def test_an_adapter_of_a_model_that_is_not_here(endpoint: str, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "m", "some/base", down_projections())
    with pytest.raises(
        UsageError, match="it is a LoRA adapter, and its base model 'some/base' is not in the local"
    ) as caught:
        EngineSession.open(EngineSettings(str(path)))
    assert f"set base_model_name_or_path in {path / 'adapter_config.json'} to DIR" in str(caught.value.fix)


@pytest.mark.parametrize("endpoint", ["silent"], indirect=True)
def test_a_slow_network_may_have_longer(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "4")
    started = time.monotonic()
    assert "no answer within 4 seconds" in str(hub.unreachable())
    assert time.monotonic() - started > 3.5
    known = dict(hub._ANSWERS)
    assert hub.unreachable() is not None
    assert known == hub._ANSWERS, "asked again at once"


def cached(directory: Path, model: Path) -> Path:
    """The hub's cache with ``some/model`` in it."""
    repository = directory / "hub" / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    return Path(shutil.copytree(model, repository / "snapshots" / ("a" * 40)))


_LOAD = """
import sys, time
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
started = time.monotonic()
try:
    EngineSession.open(EngineSettings("some/model"), announce=print)
except UsageError as error:
    print(error)
print("took", time.monotonic() - started)
"""


def opened(endpoint: str, home: Path, **environment: str) -> tuple[str, float]:
    """What a process of its own says, and how long it took: the hub's client reads its environment once."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE")}
    kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "EDITPITFALLS_CACHE": str(home / "cache"), **environment}
    run = subprocess.run(
        [sys.executable, "-c", _LOAD], env=kept, capture_output=True, text=True, timeout=120, check=True
    )
    text, _, seconds = run.stdout.rpartition("took ")
    return text, float(seconds)


def test_the_copy_in_the_local_cache_is_used(silent: str, tmp_path: Path) -> None:
    cached(tmp_path, save_tiny(tmp_path / "m", "mistral"))
    text, seconds = opened(silent, tmp_path)
    assert "HF_HUB_ETAG_TIMEOUT=10 waits for longer): 'some/model' is taken from the local cache" in text
    assert "parameters in float32" in text
    assert seconds < 4 * LIMIT
    text, _ = opened(silent, tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids asking Hugging Face: 'some/model' is taken from the local cache" in text


def test_a_hub_that_answers_is_asked(answering: str, tmp_path: Path) -> None:
    text, _ = opened(answering, tmp_path)
    assert "Hugging Face has no public model 'some/model'" in text


def test_a_copy_without_its_weights(silent: str, tmp_path: Path) -> None:
    (cached(tmp_path, save_tiny(tmp_path / "m", "llama")) / "model.safetensors").unlink()
    text, seconds = opened(silent, tmp_path)
    assert "'some/model' is not in the local cache, and Hugging Face cannot be reached" in text
    assert seconds < 4 * LIMIT


def test_an_adapter_in_a_repository_is_refused(silent: str, tmp_path: Path) -> None:
    """The same with and without peft: it is merged where it is a directory."""
    write_adapter(cached(tmp_path, save_tiny(tmp_path / "m", "llama")), "x", down_projections())
    text, _ = opened(silent, tmp_path)
    assert "'some/model' holds a LoRA adapter" in text
    assert "hf download some/model" in text


def test_a_run_says_it_before_torch_is_imported(silent: str, tmp_path: Path) -> None:
    (tmp_path / "stops.py").write_text("import sys\nsys.modules['torch'] = None\n")
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE")}
    kept |= {"HF_ENDPOINT": silent, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-p", "stops", "--editor=rome", "--model=some/model"]
    run = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: model 'some/model': 'some/model' is not in the local cache" in run.stderr


def test_directories_ask_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: pytest.fail("asked"))
    assert prepare(resolve(str(save_tiny(tmp_path / "m", "llama"))))
