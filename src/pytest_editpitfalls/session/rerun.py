"""The command that runs one item again, alone and under the same settings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from pytest_editpitfalls.engine.edited_checkpoint.declare import checkpoint_labels
from pytest_editpitfalls.escaping import encodable
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.options.command_line import SHORT_FORMS
from pytest_editpitfalls.options.config import RunConfig, model_labels
from pytest_editpitfalls.options.defaults import DEFAULT_MODEL
from pytest_editpitfalls.options.editor_labels import as_typed, editor_name, seed_of
from pytest_editpitfalls.reports.view.reruns import quoted
from pytest_editpitfalls.results.rerun_record import ID, RerunRecord
from pytest_editpitfalls.suites.suite import Suite

from .item_report import ItemReport
from .modules import is_own_test
from .selection import parse_target


def rerun_command(item: pytest.Item, case: SelectedCase, run: RunConfig) -> str:
    """Return the pytest command that selects ``item`` from the directory where pytest was started."""
    suite = None if is_own_test(item) else case.suite
    selects, options = _words(item.nodeid, case.case.id, suite, case.editor, case.model, item.config, run)
    return quoted(["pytest", *selects, *options])


def rerun_records(
    reports: Iterable[ItemReport], suites: Mapping[str, Suite], config: pytest.Config, run: RunConfig
) -> list[RerunRecord]:
    """Return how the cases of a run are run again: one record for all cases of a suite with an editor on a model.

    Where several tests are about one suite, those of fewer cases have records that name them.

    Args:
        suites: those that were collected as suites, by name.
    """
    groups: dict[tuple[str, str, str], list[ItemReport]] = {}
    for report in reports:
        groups.setdefault(report.record.key[:3], []).append(report)
    records = []
    for (name, editor, model), members in groups.items():
        by_test: dict[tuple[bool, str], list[str]] = {}
        for report in members:
            by_test.setdefault((report.is_own_test, _without_id(report)), []).append(report.record.id)
        most, _ = Counter({test: len(ids) for test, ids in by_test.items()}).most_common(1)[0]
        for (is_own, node), ids in by_test.items():
            suite = None if is_own else suites[name]
            selects, options = _words(node, ID, suite, editor, model, config, run)
            named = [] if (is_own, node) == most else ids
            if any(encodable(word, "utf-8") != word for word in (*selects, *options)):
                continue  # the name of a file that no text can say
            records.append(
                RerunRecord(suite=name, editor=editor, model=model, selects=selects, options=options, cases=named)
            )
    return records


def _without_id(report: ItemReport) -> str:
    """Return the node id of a case with `ID` in the place of the case's own."""
    before, _, after = report.nodeid.rpartition(report.record.id)
    return f"{before}{ID}{after}"


def _words(
    nodeid: str, case_id: str, suite: Suite | None, editor: str, model: str, config: pytest.Config, run: RunConfig
) -> tuple[list[str], list[str]]:
    """Return the arguments that select an item, and the others; ``suite`` is None for a test of the user's own."""
    here = config.invocation_params.dir
    settings = settings_of(editor, model, run)
    if suite is None:
        file, colons, name = nodeid.partition("::")
        return [os.path.relpath(config.rootpath / file, here).replace(os.sep, "/") + colons + name], settings
    if parse_target(nodeid, here) is None:  # the user has a file of that name
        return ["-k", case_id], [*_suite_options(suite, run), *settings]
    return [nodeid], settings if suite.spec == suite.name else [*_suite_options(suite, run), *settings]


def _suite_options(suite: Suite, run: RunConfig) -> list[str]:
    """Return the options that name a suite: its file, or the list of edits that it is made of."""
    edits = run.edits
    if edits is None or suite.source != edits.path:
        return [f"--pitfalls-suite={suite.spec}"]
    return [
        f"--pitfalls-edits={edits.path}",
        *(["--pitfalls-together"] if edits.together else []),
        *(f"--pitfalls-facts={path}" for path in edits.facts),
        *([f"--pitfalls-relations={edits.relations}"] if edits.relations is not None else []),
        *([f"--pitfalls-rules={edits.rules}"] if edits.rules is not None else []),
    ]


def settings_of(editor: str, model: str, run: RunConfig) -> list[str]:
    """Return the options under which an editor and a model, given by their labels, are as in this run."""
    flags = {long: long if short in run.short_forms_taken else short for short, long in SHORT_FORMS.items()}
    source = run.model_of(model)
    # a label with a number is only right beside the model that took the plain one
    models = [source] if model_labels([source])[source] == model else list(run.models)
    if run.is_audit:
        options = [f"{flags['--pitfalls-edited']}={name}" for name in _checkpoints(editor, run)]
        options += [f"{flags['--pitfalls-base']}={name}" for name in models]
    else:
        options = [f"{flags['--pitfalls-editor']}={as_typed(editor, run)}"]
        options += [f"{flags['--pitfalls-model']}={name}" for name in models if models != [DEFAULT_MODEL]]
    options += [f"--pitfalls-checkout={name}={folder}" for name, folder in run.checkouts.items()]
    if run.editor_python is not None:
        options.append(f"--pitfalls-editor-python={run.editor_python}")
    if run.config_path is not None:
        options.append(f"--pitfalls-config={run.config_path}")
    options += [
        f"--pitfalls-set={editor_name(editor)}.{key}={value}"
        for key, value in run.overrides.get(editor_name(editor), {}).items()
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
    if run.seed and seed_of(editor) is None:
        options.append(f"--pitfalls-seed={run.seed}")
    return options


def _checkpoints(label: str, run: RunConfig) -> list[str]:
    """Return the checkpoint of a label, and those beside which alone the label is right."""
    own = run.checkpoints[label]
    return [own] if label in checkpoint_labels((own,)) else list(run.checkpoints.values())
