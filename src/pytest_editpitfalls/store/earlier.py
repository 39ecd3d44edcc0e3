"""How long cases took in earlier runs, by a sample of what a store holds. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pytest_editpitfalls.options.editor_labels import without_seed

from .directory import Store, parsed, read_regular
from .identity import RunHeader
from .stored_case import StoredCase

SAMPLE = 200
"""Records that are read at most: a fifth of a second. Names are digests: the first ones are a random sample."""


@dataclass(frozen=True)
class CaseSeconds:
    """Seconds of a case: ``whole``, and ``edits``, those of them that its edits took."""

    whole: float
    edits: float


class EarlierSeconds:
    """What cases took on the same kind of device, by editor, model and suite.

    Args:
        device: as the engine describes it ("cpu", "cuda:0").
    """

    def __init__(self, store: Store, device: str) -> None:
        found: dict[tuple[str, ...], list[CaseSeconds]] = {}
        devices: dict[str, str | None] = {}
        for record in _sample(store):
            if record.header not in devices:
                devices[record.header] = _device(store, record.header)
            if devices[record.header] == _kind(device):
                pair = (without_seed(record.editor), record.model)
                for key in (pair, (*pair, record.suite)):
                    seconds = CaseSeconds(record.seconds, record.timings.get("edit", record.seconds))
                    found.setdefault(key, []).append(seconds)
        self._means = {key: _mean(each) for key, each in found.items()}

    def of(self, editor: str, model: str, suite: str) -> CaseSeconds | None:
        """Return the mean for a case of a suite, or of other suites where this one is new; None: nothing is known."""
        pair = (without_seed(editor), model)
        return self._means.get((*pair, suite)) or self._means.get(pair)


def _sample(store: Store) -> Iterable[StoredCase]:
    for key in islice(store.record_keys(), SAMPLE):
        with contextlib.suppress(OSError):
            record = parsed(read_regular(store.record_path(key)), StoredCase)
            if record is not None and not record.is_error and record.skipped is None and record.seconds > 0:
                yield record


def _device(store: Store, key: str) -> str | None:
    path: Path = store.header_path(key)
    with contextlib.suppress(OSError):
        if (header := parsed(read_regular(path), RunHeader)) is not None:
            model = header.description.get("model")
            return _kind(str(model.get("device"))) if isinstance(model, Mapping) else None
    return None


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _mean(found: list[CaseSeconds]) -> CaseSeconds:
    return CaseSeconds(sum(each.whole for each in found) / len(found), sum(each.edits for each in found) / len(found))
