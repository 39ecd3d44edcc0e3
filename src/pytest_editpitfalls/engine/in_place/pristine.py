"""The base model as it was: lent to an in-place editor, read off afterwards, put back and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.overlay.difference import Attachment, ModelDifference, put
from pytest_editpitfalls.errors import CaseError, UsageError

from .structure import Structure, first_of
from .wrappers import detached_copies

_ROW = 4096


class Pristine:
    """A snapshot of a model: what every tensor, hook, module and attribute was.

    The snapshot is copy-on-write: an editor's own writes are what gets copied. Where torch cannot share memory
    (weights mapped from a file) one full copy is made here, once.

    A write through torch or a numpy view ends the sharing, so that comparing addresses finds it and the snapshot
    keeps the old bits. Only a write past torch into shared memory needs the checksum of all weights, which `verify`
    takes once a batch.

    Args:
        model: the base model; from now on its tensors share their memory with the snapshot.
        moved: called when its weights are the base model's, bit for bit, in other memory than before.
    """

    def __init__(self, model: nn.Module, moved: Callable[[], None] = lambda: None) -> None:
        self.model, self._moved = model, moved
        self.structure = Structure(model)
        self.snapshot: dict[str, Tensor] = {}
        self._out = False  # whether it is lent
        for name, tensor in self.structure.tensors.items():
            self.snapshot[name] = copy_on_write(tensor.data)  # in a storage of its own, which nothing else refers to
            tensor.data = copy_on_write(self.snapshot[name])
        self._checksums = dict(zip(self.snapshot, checksums(list(self.snapshot.values())), strict=True))
        moved()

    @contextmanager
    def lent(self, start: ModelDifference) -> Iterator[Loan]:
        """The model with ``start`` applied, its parameters requiring gradients; the base model again afterwards.

        Raises:
            CaseError: the base model was written to since the last loan ended; it is put back.
        """
        if self._out:  # an interrupt (a timeout's signal) came while it was put back
            self._put_back()
        elif written := self._written():
            self._put_back()
            raise CaseError(written_behind(written))
        self._out = True
        try:
            yield Loan(self, start)
        finally:
            self._put_back()

    def verify(self) -> list[str]:
        """Names of the tensors that were written since the last loan ended; they are put back.

        Raises:
            UsageError: a checksum differs: the snapshot itself was written, so that further results would be wrong.
        """
        written = [] if self._out else self._written()
        if written or self._out:
            self._put_back()
        names = list(self.snapshot)
        found = checksums([self.structure.tensors[name].data for name in names])
        wrong = [name for name, value in zip(names, found, strict=True) if value != self._checksums[name]]
        if wrong:
            raise UsageError(
                f"after an in-place edit the base model's '{wrong[0]}' could not be put back bit for bit "
                f"({len(wrong)} tensor(s) differ): no further case could be believed",
                fix="find what writes to the weights past torch (a pointer, another process) in the editor",
            )
        return written

    def _written(self) -> list[str]:
        replaced = self.structure.replaced()
        return [
            name
            for name, original in self.snapshot.items()
            if name in replaced or not _is_still(self.structure.tensors[name].data, original)
        ]

    def _put_back(self) -> None:
        self.structure.restore()
        for name, tensor in self.structure.tensors.items():
            # Also where the bits are the same: user code may hold a view of that memory and write to it later.
            tensor.data = copy_on_write(self.snapshot[name])
            tensor.requires_grad_(False)
            tensor.grad = None
        self._out = False
        self._moved()


def written_behind(names: Sequence[str]) -> str:
    """The message about a base model that was written to outside of an edit."""
    quoted = [f"'{name}'" for name in names]
    return (
        f"the base model's {first_of(quoted)} was written after an edit had been taken back "
        "(by a thread, or through something that the editor kept); it has been put back"
    )


def _is_still(current: Tensor, original: Tensor) -> bool:
    if is_shared(current, original) and current.stride() == original.stride():
        return True
    kind = (current.shape, current.dtype, current.device)
    return kind == (original.shape, original.dtype, original.device) and same_bits(current, original)


class Loan:
    """The model in an editor's hands. Made by `Pristine.lent`."""

    def __init__(self, pristine: Pristine, start: ModelDifference) -> None:
        self._pristine = pristine
        self._start = start
        self.notes: list[str] = []
        tensors = pristine.structure.tensors
        for name, value in start.values.items():
            tensors[name].data = copy_on_write(value)
        for each in self._copies(start):
            put(each.entries, each.key, each.value)
        for parameter in pristine.model.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        pristine.model.eval()

    def read(self, edited: nn.Module | None, *, keeps_attachments: bool) -> tuple[ModelDifference, bool]:
        """What the editor did, against the base model, and whether it changed anything in this step.

        Args:
            edited: another model object that holds the edited weights; None where the lent one does.
            keeps_attachments: whether hooks and the like belong to the edit.

        Raises:
            CaseError: it changed what cannot be taken over; the message names it.
        """
        self._note_flags()
        attachments = self._pristine.structure.attachments(self.notes)
        if attachments and not keeps_attachments:
            _refuse(attachments)
        structure = self._pristine.structure
        current = structure.current() if edited is None else structure.current_of(edited)
        values: dict[str, Tensor] = {}
        changed = bool(attachments or self._start.attachments)  # what they hold may have changed
        for name, original in self._pristine.snapshot.items():
            tensor = current[name]
            _check_kind(name, tensor, original)
            before = self._start.values.get(name, original)
            if same_bits(tensor, before):
                if name in self._start.values:
                    values[name] = before
                continue
            changed = True
            if not same_bits(tensor, original):
                values[name] = copy_on_write(tensor)
        for each in attachments:
            if isinstance(each.value, nn.Module):
                each.value.eval()
        return ModelDifference(values, attachments), changed

    def _copies(self, start: ModelDifference) -> list[Attachment]:
        if not start.attachments:
            return []
        try:
            with detached_copies():
                return start.own_attachments(self._pristine.model)
        except Exception as error:
            raise CaseError(
                f"what the edit before attached to the model cannot be copied: {type(error).__name__}: {error}",
                fix="attach objects that copy.deepcopy can copy",
            ) from None

    def _note_flags(self) -> None:
        model = self._pristine.model
        if any(module.training for module, _ in self._pristine.structure.places):
            self.notes.append("left the model in training mode: evaluation mode is restored")
        frozen = [n for n, p in model.named_parameters() if p.is_floating_point() and not p.requires_grad]
        if frozen:
            self.notes.append(f"left requires_grad off for {first_of(frozen)}: restored (every edit starts with it on)")


def _refuse(attachments: list[Attachment]) -> None:
    for each in attachments:
        if isinstance(each.before, nn.Module) and type(each.value) is type(each.before):
            theirs = dict(each.value.named_parameters())
            for name, original in each.before.named_parameters():
                if name in theirs:  # resized embeddings are new modules
                    _check_kind(".".join(filter(None, (each.path, each.key, name))), theirs[name], original)
    words = list(dict.fromkeys(filter(None, (each.describe() for each in attachments))))
    raise CaseError(
        f"left behind {first_of(words)}; it has been taken away",
        fix="remove it before the function returns, or declare @in_place_editor(keeps='attachments')",
    )


def _check_kind(name: str, tensor: Tensor, original: Tensor) -> None:
    for what, new, old in (
        ("shape", tuple(tensor.shape), tuple(original.shape)),
        ("dtype", tensor.dtype, original.dtype),
        ("device", tensor.device, original.device),
    ):
        if new != old:
            raise CaseError(
                f"changed the {what} of '{name}' from {old} to {new}",
                fix="write weights of the model's own shapes, dtype and device back",
            )


def copy_on_write(tensor: Tensor) -> Tensor:
    """A copy that shares the memory until one of the two is written; a full one where torch cannot do that."""
    try:
        return torch._lazy_clone(tensor)
    except (RuntimeError, NotImplementedError, AttributeError):
        return tensor.clone()


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether both hold the same bits (NaN equals itself, 0 is not -0). They have one shape, dtype and device."""
    if _address(one) == _address(other) and one.stride() == other.stride():
        return True
    return torch.equal(_bytes(one), _bytes(other))


def checksums(tensors: list[Tensor]) -> list[int]:
    """An integer for each: words of 64 bits added up row by row, rows weighted by their place (modulo 2**64)."""
    if not tensors:
        return []
    sums = [_checksum(tensor) for tensor in tensors]
    by_device: dict[torch.device, list[int]] = {}
    for index, value in enumerate(sums):
        by_device.setdefault(value.device, []).append(index)
    found = [0] * len(sums)
    for indices in by_device.values():
        for index, number in zip(indices, torch.stack([sums[i] for i in indices]).tolist(), strict=True):
            found[index] = number
    return found


def _checksum(tensor: Tensor) -> Tensor:
    data = _bytes(tensor)
    whole = len(data) // 8 * 8
    try:
        words = data[:whole].view(torch.int64)
    except RuntimeError:  # it does not start at a multiple of 8 bytes
        words = data[:whole].clone().view(torch.int64)
    rows = len(words) // _ROW
    parts = torch.cat(
        [
            words[: rows * _ROW].reshape(rows, _ROW).sum(dim=1),
            words[rows * _ROW :].sum()[None],
            data[whole:].sum(dtype=torch.int64)[None],
        ]
    )
    return (parts * (2 * torch.arange(len(parts), device=parts.device) + 1)).sum()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _address(tensor: Tensor) -> int | None:
    """Where the data begins, read without making a shared copy one of its own; None where nothing can be said."""
    address = torch._C._data_address(tensor) if hasattr(torch._C, "_data_address") else None
    return address or None


def is_shared(one: Tensor, other: Tensor) -> bool:
    """Whether both still share their memory."""
    return _address(one) is not None and _address(one) == _address(other)
