"""Fetches the embedded model while this process imports torch and transformers. Importing it imports neither."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pytest_editpitfalls.engine.quiet import without_warnings
from pytest_editpitfalls.engine.settings import EngineSettings

from .embedded import GGUF_SHA256, embedded_gguf
from .gguf import converted_name
from .loading import check_available
from .source import resolve

PATIENCE = 3.0
"""Seconds that a run which is interrupted waits for pip to end."""

_MODEL_CODE = (
    "gguf",
    "transformers.generation",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
)
"""What converting and loading the embedded model would import later, which takes as long as importing torch."""


@contextmanager
def fetched_meanwhile(settings: EngineSettings, announce: Callable[[str], None] | None = None) -> Iterator[None]:
    """While open, what a model lacks is fetched; leaving waits for it, and imports the model's code meanwhile.

    What `check_available` refuses is refused at once. Nothing is fetched where a device or dtype is asked for that may
    not be there: that is refused first, for which torch is needed.

    Args:
        announce: called with one line before something is fetched, by another thread.

    Raises:
        UsageError: the model is not here and cannot be fetched.
    """
    check_available(settings.model)
    source = resolve(settings.model)
    is_plain = settings.device in ("auto", "cpu") and settings.dtype is None
    if source.kind != "embedded" or not is_plain or converted_name(source.cache, GGUF_SHA256).is_dir():
        yield
        return
    raised: list[BaseException] = []

    def fetch() -> None:
        try:
            embedded_gguf(source.cache, announce)
        except BaseException as error:
            raised.append(error)

    # A daemon: Ctrl-C during the imports ends the run without it.
    thread = threading.Thread(target=fetch, name="editpitfalls-fetch", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        thread.join(PATIENCE)  # Ctrl-C ends pip, too: what it has written so far is removed
        raise
    for name in _MODEL_CODE:
        with without_warnings(), suppress(ImportError):  # if it is needed, it is missed where it is
            importlib.import_module(name)
    thread.join()
    if raised:
        raise raised[0]
