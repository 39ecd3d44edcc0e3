"""An in-place editor as the engine sees it: one call per step, its outcome kept as a `ModelDifference`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import random
import re
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editing.templates import check_filled, templates_seen
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.isolation import is_out_of_memory
from pytest_editpitfalls.engine.overlay.difference import ModelDifference
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError, PitfallsError, UsageError
from pytest_editpitfalls.files import file_digest
from pytest_editpitfalls.program import EditRequest

from .arguments import on_device, structured_argument
from .options import InPlaceOptions, TargetFormat, keyword_arguments
from .pristine import Pristine, written_behind
from .tokenizer import LentTokenizer
from .wrappers import check_transparent, detached_copies, holds

_FEW = 4
"""Requests from either end of a long list on which a wrapper is compared with the model in it."""


class InPlaceEditor:
    """Calls ``function(model, tokenizer, requests, **hyperparameters)`` on the base model itself, case by case.

    The model is in evaluation mode and its parameters require gradients. Afterwards what changed is read off by
    comparison with a snapshot, and the base model is put back bit for bit; `verify` checks that it stayed so.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        options: InPlaceOptions,
        hyperparameters: Hyperparameters,
        resources: EditorResources,
    ) -> None:
        self.name = name
        self._function = function
        self._options = options
        self._hyperparameters = hyperparameters
        self._host = resources.host
        self._seed = resources.settings.seed
        self._pristine: Pristine | None = None
        self._is_fresh = True  # no edit since it has last forgotten what it keeps
        self._user = object()  # one editor is made for each model and seed
        self._files: dict[str, str] | None = None
        self._targets: tuple[TargetFormat, ...] = ("plain", "str") if options.targets is None else (options.targets,)
        self._arguments, self._remarks = self._made_arguments()
        self._tokenizer = LentTokenizer(resources.host.tokenizer)

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Take the snapshot."""
        if self._pristine is None:
            self._pristine = Pristine(self._host.model, self._host.prepacked.look_again)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """One call per job, one after another: there is one model object."""
        results = []
        for done, job in enumerate(jobs):
            results.append(self._edit(job))
            progress(Progress("edit", done + 1, len(jobs)))
        return results

    def weights(self) -> tuple[str, ...] | None:
        """What the function says that it may change."""
        return self._options.weights

    def reset(self) -> None:
        """Let the function forget what it keeps between cases, where it has said how."""
        self._is_fresh = True
        if (reset := self._its_reset()) is None:
            return
        try:
            reset()
        except (Exception, SystemExit) as error:
            raise CaseError(f"its reset() failed: {self._raised(error)}") from None

    def _its_reset(self) -> Callable[[], object] | None:
        if (reset_for := self._options.reset_for) is not None:
            return partial(reset_for, self._user)
        reset = self._options.reset or getattr(self._function, "reset", None)
        return reset if callable(reset) else None

    def verify(self) -> str | None:
        """See `WritesModel`; the checksum of all weights is taken here.

        Raises:
            UsageError: the weights cannot be put back.
        """
        written = self._pristine.verify() if self._pristine else []
        return written_behind(written) if written else None

    def describe(self) -> dict[str, Any]:
        """The function, where it is from, and its keyword arguments."""
        structured = type(self._hyperparameters).structured
        given = {
            key: _plain(value, is_structured=isinstance(value, structured.get(key, ())))
            for key, value in self._arguments.items()
        }
        if self._files is None:  # read once
            self._files = {key: value for name in structured for key, value in self._files_in(given.get(name)).items()}
        return {
            "name": self.name,
            "function": f"{getattr(self._function, '__module__', '')}:"
            f"{getattr(self._function, '__qualname__', type(self._function).__name__)}",
            "form": "in place",
            "hyperparameters": given,
            **({"files": self._files} if self._files else {}),
        }

    def _files_in(self, value: Any) -> dict[str, str]:
        """Files that an object of hyper-parameters names, a trained network for instance: each with its digest."""
        if isinstance(value, dict | list):
            parts = value.values() if isinstance(value, dict) else value
            return {key: digest for part in parts for key, digest in self._files_in(part).items()}
        digest = _content(self._options.folder or Path(), value) if isinstance(value, str) and value else None
        return {} if digest is None else {value: digest}

    def _edit(self, job: EditJob) -> EditResult:
        where = f"edit {job.step}"
        notes = list(self._remarks)
        try:
            try:
                difference = self._in_turn(job, notes)
            finally:
                self._is_fresh = False
        except UsageError:
            raise
        except CaseError as error:
            if (cause := error.__cause__) is not None and not is_out_of_memory(cause):
                CAUSES.keep(job.cause, f"{where}: {error}", cause)
            return EditResult(error=f"{where}: {error}", notes=_at(where, notes))
        if (name := difference.not_finite()) is not None:
            return EditResult(error=f"{where}: '{name}' is not finite (NaN or infinity)", notes=_at(where, notes))
        model = (difference,) if difference.values or difference.attachments else ()
        return EditResult(model, notes=_at(where, notes))

    def _made_arguments(self) -> tuple[dict[str, Any], list[str]]:
        """The hyper-parameters as the function gets them, and what there is to say of files among them."""
        folder = self._options.folder
        arguments, remarks = keyword_arguments(self._hyperparameters), list[str]()
        for name, kind in type(self._hyperparameters).structured.items():
            if arguments.get(name) is not None:
                where = f"--pitfalls-set {self.name}.{name}"
                arguments[name], more = structured_argument(kind, arguments[name], where=where, folder=folder)
                remarks += more
        return arguments, remarks

    def _in_turn(self, job: EditJob, notes: list[str]) -> ModelDifference:
        """`_difference` with the form of targets that the function takes; tried where it has not said."""
        form, *others = self._targets
        try:
            difference = self._difference(job, notes, form)
        except CaseError as error:
            if not others or not _is_about_targets(error.__cause__):
                raise
            if self._its_reset() is not None:  # what the first try left is not the second one's
                if not self._is_fresh:
                    raise CaseError(str(error), fix=_TARGETS) from error.__cause__
                self.reset()
            del notes[len(self._remarks) :]
            form = others[0]
            try:
                difference = self._difference(job, notes, form)
            except CaseError as again:
                told = error if _is_about_targets(again.__cause__) else again
                raise told from told.__cause__
        self._targets = (form,)
        return difference

    def _difference(self, job: EditJob, notes: list[str], targets: TargetFormat) -> ModelDifference:
        """Call the editor; raises `CaseError` for everything that goes wrong in it."""
        self.prepare()
        assert self._pristine is not None
        start = job.model[-1] if job.model else ModelDifference()
        if not isinstance(start, ModelDifference) or len(job.model) > 1:
            raise CaseError("the edit before is another editor's")
        with self._pristine.lent(start) as loan:
            try:
                with detached_copies():
                    returned = self._call(job, targets)
                edited, is_wrapped = self._edited(returned, job, notes)
                self._tokenizer.check(notes)
                keeps = is_wrapped or self._options.keeps == "attachments"
                difference, changed = loan.read(edited, keeps_attachments=keeps)
                difference = replace(difference, declares_independent_rows=self._options.independent_rows)
            finally:
                notes += loan.notes
        if not changed and returned is None:
            raise CaseError(
                "returned nothing and changed no weight of the model",
                fix="write to the model that is passed, or return the edited one",
            )
        if not changed:
            notes.append("changed nothing")
        return difference

    def _call(self, job: EditJob, targets: TargetFormat) -> Any:
        requests = [self._request(job, request, targets) for request in job.requests]
        structured = type(self._hyperparameters).structured
        arguments = {
            key: on_device(copy.deepcopy(value), str(self._host.device)) if key in structured else value
            for key, value in self._arguments.items()
        }
        own = "" if self._options.same_draws else f"/{job.case_id}/{job.step}"
        seed = zlib.crc32(f"{self._seed}{own}".encode())
        try:
            tokenizer = self._tokenizer.take()
            with (
                _seeded(seed, self._host.device),
                torch.inference_mode(False),
                torch.enable_grad(),
                templates_seen(tokenizer) as seen,
            ):
                returned = self._function(self._host.model, tokenizer, requests, **arguments)
        except (Exception, SystemExit) as error:
            raise CaseError(self._raised(error)) from error
        if self._options.prompts != "template":
            check_filled(seen, job.requests, fix=_FILL)
        return returned

    def _request(self, job: EditJob, request: EditRequest, targets: TargetFormat) -> dict[str, Any]:
        def target(label: str) -> Any:
            return {"str": label} if targets == "str" else label

        values: dict[str, Any] = {
            "case_id": job.case_id,
            "step": job.step,
            "prompt": request.question if self._options.prompts == "filled" else request.prompt,
            "subject": request.subject,
            "target_new": target(request.target_new),
            "joiner": request.joiner,
            "relation_id": request.relation,
        }
        if request.target_true is not None:
            values["target_true"] = target(request.target_true)
        return values

    def _raised(self, error: BaseException) -> str:
        """The exception in one line, with the place in the editor's own file."""
        text = str(error) if isinstance(error, PitfallsError) else f"{type(error).__name__}: {error}"
        own = inspect.getsourcefile(inspect.unwrap(self._function)) if callable(self._function) else None
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
        return f"{text} (line {frames[-1].lineno}, in {frames[-1].name})" if frames else text

    def _edited(self, returned: Any, job: EditJob, notes: list[str]) -> tuple[nn.Module | None, bool]:
        """The model object that holds the edit, None for the one that was passed; and whether it was wrapped."""
        model = self._host.model
        if isinstance(returned, tuple) and returned and not isinstance(returned[0], tuple):
            returned = returned[0]  # (model, original weights), as much of the field's code returns
        if returned is None or returned is model:
            return None, False
        if holds(returned, model):
            about = [text for request in _some(job.requests) for text in (request.question, request.sentence)]
            texts = [self._host.encoder.prompt(text) for text in about]
            if (note := check_transparent(returned, model, texts)) is not None:
                notes.append(note)
            return None, True
        fix = "return the model that was passed, or a deep copy of it"
        if not isinstance(returned, nn.Module):
            raise CaseError(f"returned a {type(returned).__name__}, not a model", fix=fix)
        if type(returned) is not type(model):
            raise CaseError(
                f"returned a {type(returned).__name__}, not a {type(model).__name__}",
                fix=f"{fix}; an adapter's weights are merged first (peft: model.merge_and_unload())",
            )
        return returned, False


def _some(requests: Sequence[EditRequest]) -> list[EditRequest]:
    """The first and the last of many."""
    return [*requests[:_FEW], *requests[_FEW:][-_FEW:]]


def _is_about_targets(error: BaseException | None) -> bool:
    """Whether a function failed because it takes a text for a dictionary or a dictionary for a text."""
    return isinstance(error, TypeError | AttributeError) and re.search(r"\b(str|string|dict)\b", str(error)) is not None


_TARGETS = "declare @in_place_editor(targets='plain') or targets='str': here it cannot be found out by trying"

_FILL = (
    "declare @in_place_editor(prompts='filled') to get prompts with their subject, or fill them: "
    "request['prompt'].replace('{}', request['subject'])"
)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Everything random starts from ``seed``, so that no case depends on what ran before it; put back afterwards."""
    own, array = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            random.seed(seed)
            numpy.random.seed(seed)
            yield
    finally:
        random.setstate(own)
        numpy.random.set_state(array)


def _at(where: str, notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{where}: {note}" for note in dict.fromkeys(notes))


def _content(folder: Path, name: str) -> str | None:
    try:
        return file_digest(folder / name) if (folder / name).is_file() else None
    except (OSError, ValueError):  # no path at all, or nobody may read it: the function may not either
        return None


def _plain(value: Any, *, is_structured: bool = False) -> Any:
    if is_structured or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return {key: _plain(each) for key, each in vars(value).items() if key != "device"}
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value)
