"""What pytest loads. Without an editor it registers options and fixtures, and no more.

Every start of pytest pays for what is imported here, in projects that do not use this plugin too: what only a run with
an editor needs is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence

import pytest

from .errors import PitfallsError
from .fixtures import (  # pytest finds fixtures among the plugin's names
    NO_EDITOR,
    SESSION,
    base_model,
    base_tokenizer,
    edited_model,
    pitfall_case,
    pitfall_outcome,
)
from .options import command_line, given
from .options.defaults import MARKER, NODE_FOLDER
from .reports.formats import FORMATS

__all__ = ["base_model", "base_tokenizer", "edited_model", "pitfall_case", "pitfall_outcome"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the prefixed options and the ini keys."""
    command_line.add_options(parser, {report.name: report.help for report in FORMATS})


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let others implement our hooks."""
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: Sequence[str]
) -> Generator[None, object, object]:
    """Register the short forms of options when the conftests have taken what they want."""
    has_editor = command_line.asks_for_a_run(early_config.known_args_namespace)
    if has_editor or command_line.short_forms_in(args):
        from .openmp import spin_briefly

        early_config.stash[command_line.THREADS_SLEEP] = spin_briefly()  # a conftest may import torch
    result = yield
    early_config.stash[command_line.SHORT_FORMS_TAKEN] = command_line.add_short_forms(
        parser, args, has_editor=has_editor
    )
    if has_editor or command_line.short_forms_in(args) & {"--editor", "--edited"}:
        from .options.missing_plugins import refuse_missing_plugins

        try:
            refuse_missing_plugins(parser, args)
        except PitfallsError as error:
            raise pytest.UsageError(str(error)) from None
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Read the options; with an editor, take over what is collected."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(suite): run the test once per case of a suite of knowledge-editing pitfalls "
        '("reverse", or the path of a case file); needs --pitfalls-editor',
    )
    try:
        command_line.refuse_unusable(config)
        if not command_line.asks_for_a_run(config.option):
            _without_editor(config)
        elif not given.prints_help(config):
            from .session.hooks import SessionHooks

            hooks = SessionHooks(config)
            config.stash[SESSION] = hooks.session
            config.pluginmanager.register(hooks, "editpitfalls-run")
    except PitfallsError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Say how many workers ``-n auto`` starts: each needs a model's worth of memory and threads."""
    if not command_line.asks_for_a_run(config.option) or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    if config.getoption("numprocesses") != "auto":
        return None
    from .execution.xdist.controller import automatic_workers

    try:
        return automatic_workers(config.getoption("pitfalls_device") or given.ini_text(config, "device") or "auto")
    except PitfallsError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip marked tests where there is no editor."""
    if SESSION not in item.config.stash and item.get_closest_marker(MARKER) is not None:
        pytest.skip(NO_EDITOR)


def _without_editor(config: pytest.Config) -> None:
    """Refuse what was typed for an editor, and say what of the configuration waits for one; raises `UsageError`."""
    _refuse_targets(config)
    if hasattr(config, "workerinput") or given.only_shows(config):
        return
    if (line := given.refuse_without_editor(config)) is not None:
        from .session.notices import show

        show(config, [line])


def _refuse_targets(config: pytest.Config) -> None:
    """Say what is missing when a suite's item is named without an editor."""
    if not any(f"{NODE_FOLDER}/" in argument for argument in config.args):
        return
    from .session.selection import parse_target

    for argument in config.args:
        if parse_target(argument, config.invocation_params.dir) is not None:
            raise pytest.UsageError(
                f"{argument}: there is no such file\n  fix: suites need an editor: add --editor=rome"
            )
