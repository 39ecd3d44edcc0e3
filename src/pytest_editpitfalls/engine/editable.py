"""A model that is open for edits, in a notebook or a script: without a suite, and without pytest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError, did_you_mean
from pytest_editpitfalls.program import EditRequest, Probe, Program, State

from .editors.editor_registry import EDITORS
from .session import EngineSession
from .settings import EngineSettings

Edits = EditRequest | Sequence[EditRequest]
AnyEditor = str | Callable[..., Any] | type[Any]

ORIGIN = "your program"
CASE = "your edits"


class EditableModel:
    """A model that is open for edits. Made by `open`; its weights are never written by the editors that ship.

    An editor is a name such as ``"rome"``, or a function, class or declaration of your own (docs/write-an-editor.md).
    Each call edits the base model anew: nothing is left of an earlier one.
    """

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self._own: dict[str, AnyEditor] = {}

    @classmethod
    def open(
        cls,
        model: str = "smollm2-135m",
        *,
        device: str = "auto",
        dtype: str | None = None,
        seed: int = 0,
        hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> EditableModel:
        """Load a model.

        Args:
            model: a name, Hugging Face id, directory or GGUF file.
            device: "auto" (cuda when there is one), "cpu", "cuda" or "cuda:1".
            dtype: "float32", "bfloat16", ...; None means float32 on a CPU and the checkpoint's own on a GPU.
            seed: of everything that editors draw.
            hyperparameters: by editor, those that differ from its own: ``{"rome": {"v_lr": 0.1}}``. A function of yours
                has the defaults of its keywords.
            say: called with notes, such as what is fetched and what the model takes of the memory: ``say=print``.

        Raises:
            UsageError: the model cannot be opened, or hyper-parameters are of no editor.
        """
        for editor in hyperparameters or {}:
            if editor not in EDITORS:
                raise UsageError(
                    f"unknown editor '{editor}'",
                    where="hyperparameters",
                    fix=f"{did_you_mean(editor, EDITORS)}; a function of yours has the defaults of its keywords",
                )
        overrides = {
            editor: {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
            for editor, values in (hyperparameters or {}).items()
        }
        return cls(EngineSession.open(EngineSettings(model, device, dtype, seed, overrides=overrides), say))

    @property
    def model(self) -> Any:
        """The Hugging Face model, unedited. Nobody may write to its weights: the engine may hold copies of them."""
        return self._session.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._session.tokenizer

    @contextmanager
    def edited(self, editor: AnyEditor, edits: Edits) -> Iterator[Any]:
        """Give the Hugging Face model, answering as after all edits while the context is open.

        Works with any call, ``generate`` included. One at a time.

        Args:
            editor: see the class.
            edits: one, or several, which are made one after another.

        Raises:
            UsageError: unknown editor, bad hyper-parameters, an edit without a subject's place or without an object.
            CaseError: the edit cannot be computed, another edited model is open, or the editor (IKE, ICE) puts text
                before the prompt, which no model object can carry: `probabilities` can.
        """
        program = _program(edits, ())
        with self._session_for(editor).edited(_name(editor), program, program.states[-1].name) as model:
            yield model

    def probabilities(self, editor: AnyEditor, edits: Edits, asked: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Return how likely each object is after its prompt, before the edits and after each of them.

        Args:
            editor: see the class.
            edits: one, or several, which are made one after another.
            asked: complete prompts, each with the object that shall continue it; a space is put between them.

        Returns:
            A row for the base model and one after each edit, a column for each of ``asked``: exp of the mean
            log-probability of the object's tokens, as in the result file.

        Raises:
            UsageError: as `edited`.
            CaseError: the edit cannot be computed.
            UnscorableCase: the model's tokenizer cannot write an object, or cannot find a subject.
        """
        program = _program(edits, asked)
        (scores,) = self._session_for(editor).run(_name(editor), [program])
        if scores.skipped is not None:
            raise UnscorableCase(scores.skipped)
        if scores.error is not None:
            raise CaseError(scores.error, where=CASE)
        values = [each.probabilities[0] for each in scores.probes]
        width = len(asked)
        return [values[row * width : (row + 1) * width] for row in range(len(program.states))]

    def _session_for(self, editor: AnyEditor) -> EngineSession:
        """The session; where a function was defined anew under its name, one that has not prepared the old one."""
        name = _name(editor)
        if not isinstance(editor, str) and self._own.get(name) is not editor:
            EDITORS.add(name, editor, origin=ORIGIN)
            if name in self._own:
                self._session = self._session.under_seed(self._session.settings.seed)
            self._own[name] = editor
        return self._session


def _name(editor: AnyEditor) -> str:
    return editor if isinstance(editor, str) else str(getattr(editor, "name", getattr(editor, "__name__", "editor")))


def _program(edits: Edits, asked: Sequence[tuple[str, str]]) -> Program:
    """The program of edits, one after another, with a state before them and after each."""
    listed = (edits,) if isinstance(edits, EditRequest) else tuple(edits)
    for edit in listed:
        if "{}" not in edit.prompt:
            raise UsageError(
                f"the prompt '{edit.prompt}' has no place for the subject", where=CASE, fix="write {} where it stands"
            )
        if not edit.subject or not edit.target_new:
            raise UsageError(
                "an edit needs a subject and a new object", where=f"{CASE}, '{edit.sentence}'", fix="name both"
            )
    states = tuple(State(str(count), tuple(range(count))) for count in range(len(listed) + 1))
    probes = tuple(
        Probe(f"{number}", state.name, (prompt,), target)
        for state in states
        for number, (prompt, target) in enumerate(asked)
    )
    return Program(CASE, tuple((edit,) for edit in listed), states, probes)
