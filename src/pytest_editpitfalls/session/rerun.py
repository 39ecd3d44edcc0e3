"""The command that runs one item again, alone and under the same settings."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Protocol

import pytest

from pytest_editpitfalls.engine.edited_checkpoint.declare import checkpoint_labels
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.options.command_line import SHORT_FORMS
from pytest_editpitfalls.options.config import RunConfig, model_labels
from pytest_editpitfalls.options.defaults import DEFAULT_MODEL
from pytest_editpitfalls.options.editor_labels import as_typed

from .modules import SuiteModule
from .selection import parse_target


def rerun_command(item: pytest.Item, case: SelectedCase, run: RunConfig) -> str:
    """Return the pytest command that selects ``item`` from the directory where pytest was started."""
    here = item.config.invocation_params.dir
    module = item.getparent(pytest.Module)
    suite_option: list[str] = []
    if not isinstance(module, SuiteModule):
        file, colons, name = item.nodeid.partition("::")
        target = [os.path.relpath(item.config.rootpath / file, here).replace(os.sep, "/") + colons + name]
    elif parse_target(item.nodeid, here) is None:  # the user has a file of that name
        target = ["-k", case.id]
        suite_option = _suite_options(case, run)
    else:
        target = [item.nodeid]
        if case.suite.spec != case.suite.name:
            suite_option = _suite_options(case, run)
    return quoted(["pytest", *target, *suite_option, *settings_of(case, run)])


def _suite_options(case: SelectedCase, run: RunConfig) -> list[str]:
    """Return the options that name the case's suite: its file, or the list of edits that it is made of."""
    edits = run.edits
    if edits is None or case.suite.source != edits.path:
        return [f"--pitfalls-suite={case.suite.spec}"]
    return [
        f"--pitfalls-edits={edits.path}",
        *(["--pitfalls-together"] if edits.together else []),
        *(f"--pitfalls-facts={path}" for path in edits.facts),
        *([f"--pitfalls-relations={edits.relations}"] if edits.relations is not None else []),
        *([f"--pitfalls-rules={edits.rules}"] if edits.rules is not None else []),
    ]


class Selected(Protocol):
    """What an item is about: a case, or a property of an editor."""

    @property
    def editor(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def engine_editor(self) -> str: ...

    @property
    def seed(self) -> int | None: ...


def settings_of(case: Selected, run: RunConfig) -> list[str]:
    """Return the options under which an item's editor and model are as in this run."""
    flags = {long: long if short in run.short_forms_taken else short for short, long in SHORT_FORMS.items()}
    model = run.model_of(case.model)
    # a label with a number is only right beside the model that took the plain one
    models = [model] if model_labels([model])[model] == case.model else list(run.models)
    if run.is_audit:
        options = [f"{flags['--pitfalls-edited']}={name}" for name in _checkpoints(case, run)]
        options += [f"{flags['--pitfalls-base']}={name}" for name in models]
    else:
        options = [f"{flags['--pitfalls-editor']}={as_typed(case.editor, run)}"]
        options += [f"{flags['--pitfalls-model']}={name}" for name in models if models != [DEFAULT_MODEL]]
    options += [f"--pitfalls-checkout={name}={folder}" for name, folder in run.checkouts.items()]
    if run.editor_python is not None:
        options.append(f"--pitfalls-editor-python={run.editor_python}")
    if run.config_path is not None:
        options.append(f"--pitfalls-config={run.config_path}")
    options += [
        f"--pitfalls-set={case.engine_editor}.{key}={value}"
        for key, value in run.overrides.get(case.engine_editor, {}).items()
    ]
    if run.device != "auto":
        options.append(f"--pitfalls-device={run.device}")
    if run.dtype is not None:
        options.append(f"--pitfalls-dtype={run.dtype}")
    if run.isolate:
        options.append("--pitfalls-isolate")
    if run.held_only:
        options.append("--pitfalls-held-only")
    if run.judge is not None:
        options.append(f"--pitfalls-judge={run.judge}")
    if not run.fails_untaken:
        options.append("--pitfalls-untaken=judge")
    if run.seed and case.seed is None:
        options.append(f"--pitfalls-seed={run.seed}")
    return options


def _checkpoints(case: Selected, run: RunConfig) -> list[str]:
    """Return the case's checkpoint, and those beside which alone its label is right."""
    own = run.checkpoints[case.editor]
    return [own] if case.editor in checkpoint_labels((own,)) else list(run.checkpoints.values())


def quoted(words: list[str]) -> str:
    """Return words as a line of this system's shell."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
