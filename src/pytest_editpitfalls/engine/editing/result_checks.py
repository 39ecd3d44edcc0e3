"""What a user's editor returns, checked before it is scored: a wrong result is an error of its case only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import (
    Change,
    DenseDelta,
    LowRankDelta,
    PromptPrefix,
    Replacement,
    not_finite,
)
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError

from .interface import EditJob, Editor, EditorResources, EditResult
from .templates import check_filled, templates_seen


class CheckedEditor:
    """A user's batched editor, whose results are checked.

    Args:
        values: its hyper-parameters, for the record where it has no ``describe``.
        may_tokenise_templates: whether it means to tokenise prompts with their ``{}``.
    """

    def __init__(
        self,
        name: str,
        editor: Editor,
        host: ModelAdapter,
        values: Hyperparameters,
        *,
        may_tokenise_templates: bool = False,
    ) -> None:
        self.name = name
        self._may_tokenise_templates = may_tokenise_templates
        self._editor = editor
        self._host = host
        self._values = values

    @classmethod
    def made(
        cls,
        name: str,
        make: Any,
        values: Hyperparameters,
        resources: EditorResources,
        *,
        may_tokenise_templates: bool = False,
    ) -> CheckedEditor:
        """``make(values, resources)``, checked."""
        made = make(values, resources)
        return cls(name, made, resources.host, values, may_tokenise_templates=may_tokenise_templates)

    def prepare(self, progress: ProgressCallback = silent) -> None:
        self._editor.prepare(progress)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """The editor's results; a broken one becomes its case's error.

        Raises:
            CaseError: there is not one result per job, or a prompt was tokenised with its ``{}``.
        """
        with templates_seen(self._host.tokenizer) as seen:
            results: Any = self._editor.edit(jobs, progress)
        if seen and not self._may_tokenise_templates:
            self._host.encoder.forget()  # a job that is done again by itself is looked at again
            requests = [request for job in jobs for request in job.requests]
            check_filled(seen, requests, fix="encode request.question, or declare prompts = 'template'")
        if not isinstance(results, list | tuple) or len(results) != len(jobs):
            count = f"{len(results)} results" if isinstance(results, list | tuple) else type(results).__name__
            raise CaseError(f"its edit() gave {count} for {len(jobs)} job(s)", fix="return one EditResult per job")
        found = [mistake_in(result, self._host) for result in results]
        return [
            result if mistake is None else EditResult(error=f"edit {job.step}: {mistake}")
            for job, result, mistake in zip(jobs, results, found, strict=True)
        ]

    def weights(self) -> tuple[str, ...] | None:
        """What the editor says that it may change: an attribute or a method ``weights``."""
        said = getattr(self._editor, "weights", None)
        said = said() if callable(said) else said
        return None if said is None else (said,) if isinstance(said, str) else tuple(map(str, said))

    def reset(self) -> None:
        """Let the editor forget what it keeps between cases, where it has a ``reset()``."""
        if callable(reset := getattr(self._editor, "reset", None)):
            reset()

    def describe(self) -> dict[str, Any]:
        """The editor's own words, or its hyper-parameters where it has none."""
        describe = getattr(self._editor, "describe", None)
        if callable(describe):
            own: dict[str, Any] = dict(describe())
            return own
        return {"name": self.name, "hyperparameters": self._values.model_dump(mode="json", fallback=str)}


def mistake_in(result: Any, host: ModelAdapter) -> str | None:
    """Why ``result`` cannot be scored, in words, or None: a wrong type, an unknown module, a wrong shape, NaN."""
    if not isinstance(result, EditResult):
        return f"the editor gave a {type(result).__name__}, not an EditResult"
    if result.error is not None:
        return None
    if not isinstance(result.model, tuple):
        return f"EditResult.model is a {type(result.model).__name__}, not a tuple of changes"
    for change in result.model:
        if (found := _mistake(change, host)) is not None:
            return found
    return None


def _mistake(change: Any, host: ModelAdapter) -> str | None:
    if isinstance(change, Change):
        try:
            module = host.model.get_submodule(change.module)
        except AttributeError:
            return f"the model has no module '{change.module}' to change"
        if isinstance(change, LowRankDelta | DenseDelta):
            return _wrong_delta(change, module, host) or not_finite((change,))
        return not_finite((change,))
    if isinstance(change, PromptPrefix | Replacement):
        return not_finite((change,))
    return f"a {type(change).__name__} is no change: give LowRankDelta, DenseDelta or a class with their methods"


def _wrong_delta(change: LowRankDelta | DenseDelta, module: Any, host: ModelAdapter) -> str | None:
    kind, name = type(change).__name__, change.module
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return f"the {kind} for '{name}' finds no matrix there"
    wanted: dict[str, tuple[int, ...]]
    d_o, d_k = reversed(weight.shape) if is_transposed(module) else weight.shape
    if isinstance(change, LowRankDelta):
        tensors: dict[str, Any] = {"u": change.u, "v": change.v}
        rank = change.u.shape[-1] if isinstance(change.u, Tensor) and change.u.ndim else 0
        wanted = {"u": (d_o, rank), "v": (d_k, rank)}
    else:
        tensors, wanted = {"weight": change.weight}, {"weight": (d_o, d_k)}
        if change.bias is not None:
            tensors["bias"], wanted["bias"] = change.bias, (d_o,)
    for part, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            return f"the {kind}'s {part} for '{name}' is a {type(tensor).__name__}, not a tensor"
        if tuple(tensor.shape) != wanted[part]:
            return (
                f"the {kind}'s {part} for '{name}' has the shape {tuple(tensor.shape)}, not {wanted[part]} "
                f"(the matrix is d_o={d_o} by d_k={d_k})"
            )
        if tensor.device != host.device and weight.device == host.device:
            return f"the {kind}'s {part} for '{name}' is on {tensor.device}, the model on {weight.device}"
    return None
