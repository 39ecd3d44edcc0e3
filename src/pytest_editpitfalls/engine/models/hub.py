"""Whether Hugging Face answers, found out quickly: its own client tries again for minutes. Torch-free."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pytest_editpitfalls.errors import UsageError

from .adapters import CONFIG
from .source import ModelSource, hub_directory

PATIENCE = 2.0
"""Seconds that an answer may take; a longer ``HF_HUB_ETAG_TIMEOUT`` counts."""

_VALID = 60.0
"""Seconds for which an answer, or none, is taken to hold."""

_ANSWERS: dict[str, tuple[float, str | None]] = {}
"""By endpoint: when it was asked, and why it did not answer."""


def cached_copy(source: ModelSource, announce: Callable[[str], None] | None = None) -> Path | None:
    """The directory of the copy in the local cache where Hugging Face cannot be asked; None where it can.

    Args:
        announce: called with one line where a copy is used.

    Raises:
        UsageError: Hugging Face is not to be asked or does not answer, and no whole copy is there.
    """
    if (reason := unreachable()) is None:
        return None
    directory = hub_directory(source)
    if directory is None or not any(directory.glob("*.safetensors")):
        raise not_here(source, reason)
    if announce is not None:
        announce(f"{reason}: '{source.hub_id}' is taken from the local cache")
    return directory


def refuse_hub_adapter(source: ModelSource) -> None:
    """Refuse a repository that holds an adapter: whether transformers applies it depends on peft being installed.

    Raises:
        UsageError: it holds one.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    assert source.hub_id is not None
    if (copy := cached_copy(source)) is not None:
        found = (copy / CONFIG).is_file()
    else:
        try:
            found = bool(hf_hub_download(source.hub_id, CONFIG, revision=source.revision))
        except (HfHubHTTPError, HFValidationError, OSError):  # what is wrong besides is told when the config is read
            found = False
    if found:
        raise UsageError(
            f"'{source.hub_id}' holds a LoRA adapter",
            where=f"model '{source.name}'",
            fix=f"run 'hf download {source.hub_id} --local-dir DIR' and give DIR as the model: it is merged on loading",
        )


def not_here(source: ModelSource, reason: str) -> UsageError:
    """The refusal of a model that would have to be fetched."""
    what = f"'{source.hub_id}' is not in the local cache, and {reason}"
    if source.adapter is not None:
        what = f"it is a LoRA adapter, and its base model {what}"
    return UsageError(what, where=f"model '{source.name}'", fix=elsewhere(source))


def elsewhere(source: ModelSource) -> str:
    """How to get the model where there is no network."""
    fetch = f"run 'hf download {source.hub_id} --local-dir DIR' where there is a network, and "
    if source.adapter is not None:
        return fetch + f"set base_model_name_or_path in {source.adapter.directory / CONFIG} to DIR"
    return fetch + "give DIR as the model here"


def unreachable() -> str | None:
    """Why nothing can be fetched from Hugging Face, for the middle of a sentence; None where it answers."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids asking Hugging Face"
    endpoint = constants.ENDPOINT
    asked, answer = _ANSWERS.get(endpoint, (-math.inf, None))
    if time.monotonic() - asked > _VALID:
        answer = _unanswered(endpoint, max(PATIENCE, float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or 0)))
        _ANSWERS[endpoint] = (time.monotonic(), answer)
    return answer


def _unanswered(endpoint: str, patience: float) -> str | None:
    """Ask, in a thread: looking up a name takes as long as the system lets it."""
    errors: list[str] = []
    answered = threading.Event()
    done = threading.Event()

    def ask() -> None:
        from huggingface_hub import get_session

        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                get_session().head(endpoint, timeout=patience, follow_redirects=False)
            except Exception as error:  # of any HTTP client and proxy
                errors.append((str(error).strip().splitlines() or [type(error).__name__])[0])
                time.sleep(min(0.3, patience / 4))
            else:
                answered.set()
                break
            if len(errors) == 2:
                break
        done.set()

    threading.Thread(target=ask, daemon=True, name="editpitfalls-hub").start()
    done.wait(patience)
    if answered.is_set():
        return None
    why = errors[-1] if errors else f"no answer within {patience:g} seconds; HF_HUB_ETAG_TIMEOUT=10 waits for longer"
    return f"Hugging Face cannot be reached at {endpoint} ({why})"
