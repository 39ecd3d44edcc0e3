"""The fixtures of a test that carries ``@pytest.mark.pitfalls("suite")``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

from .errors import UsageError
from .session.names import STATE

if TYPE_CHECKING:
    from .cases.case import Case
    from .engine.session import EngineSession
    from .session.outcome import Outcome
    from .session.parametrize import CaseParam
    from .session.session import RunState

NO_EDITOR = "no editor: run with --pitfalls-editor (or --editor), for instance --editor=rome"


@pytest.fixture
def pitfall_case(request: pytest.FixtureRequest) -> Case:
    """The case that the test is about: its edits, facts, relations and prompts."""
    return _param(request).case


@pytest.fixture
def pitfall_outcome(request: pytest.FixtureRequest, pitfall_case: Case) -> Outcome:
    """What became of the case: metrics, verdict, probabilities. ``check()`` fails the test with an explanation.

    The first test of a batch that asks for it runs the whole batch. An exception of the editor or the model is an
    error of this test; a case that cannot be asked of the model is skipped with the reason.
    """
    outcome = _state(request).outcome(request.node, _param(request))
    request.node.ihook.pytest_pitfalls_outcome(item=request.node, outcome=outcome)
    return outcome


@pytest.fixture
def edited_model(
    request: pytest.FixtureRequest, pitfall_case: Case
) -> Callable[..., AbstractContextManager[Any]]:
    """The edited model, for free-form assertions.

    ``with edited_model() as model:`` gives the Hugging Face model, answering (``generate`` included) as the edited
    one after both edits; ``edited_model("1")`` as after edit 1. Afterwards it is the base model again.
    """
    state, param = _state(request), _param(request)

    def edited(name: str | None = None) -> AbstractContextManager[Any]:
        _needs_model(state)
        return state.runner.edited(param, name or "12")

    return edited


@pytest.fixture
def base_model(request: pytest.FixtureRequest) -> Any:
    """The unedited Hugging Face model: the case's, in a test without a case the first of ``--pitfalls-model``."""
    return _session(request).model


@pytest.fixture
def base_tokenizer(request: pytest.FixtureRequest) -> Any:
    """The tokenizer of ``base_model``."""
    return _session(request).tokenizer


def _session(request: pytest.FixtureRequest) -> EngineSession:
    from .session.parametrize import param_of

    state = _state(request)
    _needs_model(state)
    param = param_of(request.node)
    return state.runner.session(param.model if param is not None else next(iter(state.run.labels.values())))


def _needs_model(state: RunState) -> None:
    if (reason := state.runner.no_model) is not None:
        pytest.skip(reason)


def _state(request: pytest.FixtureRequest) -> RunState:
    state = request.config.stash.get(STATE, None)
    if state is None:
        pytest.skip(NO_EDITOR)
    return state


def _param(request: pytest.FixtureRequest) -> CaseParam:
    from .session.parametrize import param_of

    _state(request)
    param = param_of(request.node)
    if param is None:
        raise UsageError(
            "the test asks for a case but names no suite",
            where=request.node.nodeid,
            fix='put @pytest.mark.pitfalls("reverse") above the function',
        )
    return param
