"""Progress bars and warnings of libraries would stand between pytest's lines. Torch-free until entered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers draws no progress bar; afterwards as before."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging
    were_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            bars.enable_progress_bar()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Nothing up to a warning is logged; afterwards as before.

    Where torchao is installed, transformers imports it, and it tells which of its kernels it could not load.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
