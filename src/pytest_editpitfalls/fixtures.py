"""The fixtures of a test that carries ``@pytest.mark.pitfalls("suite")``.

This module is loaded at every start of pytest: what only a run with an editor needs is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .errors import UsageError

if TYPE_CHECKING:
    from .cases.case import Case
    from .engine.session import EngineSession
    from .execution.model_lending import ModelLender
    from .execution.selected_case import SelectedCase
    from .session.outcome import Outcome
    from .session.session import PitfallsSession

SESSION: pytest.StashKey[PitfallsSession] = pytest.StashKey()
"""The run, on pytest's configuration; absent without an editor."""

NO_EDITOR = "no editor: run with --pitfalls-editor (or --editor), for instance --editor=rome"


@pytest.fixture
def pitfall_case(request: pytest.FixtureRequest) -> Case:
    """The case that the test is about: its edits, facts, relations and prompts."""
    return _selected_case(request).case


@pytest.fixture
def pitfall_outcome(request: pytest.FixtureRequest, pitfall_case: Case) -> Outcome:
    """What became of the case: metrics, verdict, probabilities. ``check()`` fails the test with an explanation.

    The first test of a batch that asks for it runs the whole batch. An exception of the editor or the model is an
    error of this test; a case that cannot be asked of the model is skipped with the reason.
    """
    outcome = _session(request).outcome(request.node, _selected_case(request))
    request.node.ihook.pytest_pitfalls_outcome(item=request.node, outcome=outcome)
    return outcome


@pytest.fixture
def edited_model(request: pytest.FixtureRequest, pitfall_case: Case) -> Callable[..., AbstractContextManager[Any]]:
    """The edited model, for free-form assertions.

    ``with edited_model() as model:`` gives the Hugging Face model, answering (``generate`` included) as the edited
    one after both edits; ``edited_model("1")`` as after edit 1. Afterwards it is the base model again.
    """
    session, case = _session(request), _selected_case(request)

    @contextmanager
    def edited(name: str | None = None) -> Iterator[Any]:
        with ExitStack() as stack:
            with session.timers.stopped():
                model = stack.enter_context(_models(session).edited(case, name))
            yield model

    return edited


@pytest.fixture
def base_model(request: pytest.FixtureRequest) -> Any:
    """The unedited Hugging Face model: the case's, in a test without a case the first of ``--pitfalls-model``."""
    return _base(request).model


@pytest.fixture
def base_tokenizer(request: pytest.FixtureRequest) -> Any:
    """The tokenizer of ``base_model``."""
    return _base(request).tokenizer


def _base(request: pytest.FixtureRequest) -> EngineSession:
    from .session.items import case_of

    session, case = _session(request), case_of(request.node)
    _models(session)  # skips where there is none
    with session.timers.stopped():
        return session.executor.session(case.model if case is not None else next(iter(session.run.labels.values())))


def _models(session: PitfallsSession) -> ModelLender:
    if session.models.unavailable is not None:
        pytest.skip(session.models.unavailable)
    return session.models


def _session(request: pytest.FixtureRequest) -> PitfallsSession:
    session = request.config.stash.get(SESSION, None)
    if session is None:
        pytest.skip(NO_EDITOR)
    return session


def _selected_case(request: pytest.FixtureRequest) -> SelectedCase:
    _session(request)  # without an editor there is nothing to select
    from .session.items import case_of

    case = case_of(request.node)
    if case is None:
        raise UsageError(
            "the test asks for a case but names no suite",
            where=request.node.nodeid,
            fix='put @pytest.mark.pitfalls("reverse") above the function',
        )
    return case
