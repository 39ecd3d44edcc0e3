"""The items of ``--pitfalls-suite=properties``: one for each property, editor and model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.defaults import NODE_FOLDER, PROPERTIES
from pytest_editpitfalls.options.editor_labels import editor_name, is_multi_label, seed_of
from pytest_editpitfalls.results.records import PropertyRecord

from .modules import placed
from .rerun import settings_of
from .selection import Selection, check_targets

if TYPE_CHECKING:
    from pytest_editpitfalls.properties import DrawnEdit, EditorBench, FactToEdit, Property

    from .session import PitfallsSession

RECORD: pytest.StashKey[PropertyRecord] = pytest.StashKey()
"""What was found of a property."""


@dataclass(frozen=True)
class SelectedProperty:
    """A property with the editor and model that it is looked at with; see `SelectedCase` for its names."""

    wanted: Property
    editor: str
    model: str

    @property
    def engine_editor(self) -> str:
        """What the engine calls the editor."""
        return editor_name(self.editor)

    @property
    def seed(self) -> int | None:
        """The seed that the editor draws under; None: that of the run."""
        return seed_of(self.editor)

    @property
    def name(self) -> str:
        """Name of the item."""
        return f"{self.wanted.name}[{self.editor}-{self.model}]"


class PropertyModule(pytest.Collector):
    """Collects the properties, at ``pitfalls/properties.py``."""

    run_session: PitfallsSession

    @classmethod
    def of(cls, session: pytest.Session, ours: PitfallsSession) -> PropertyModule:
        """Return the collector of the run's properties."""
        module: PropertyModule = cls.from_parent(session, **placed(session, PROPERTIES))
        module.run_session = ours
        return module

    def collect(self) -> Iterable[PropertyItem]:
        """Return one item for each property, editor and model; Multi-Label Edit changes nothing of these edits."""
        from pytest_editpitfalls.properties import PROPERTIES as ALL

        run = self.run_session.run
        for model in run.labels.values():
            for editor in run.editors:
                if not is_multi_label(editor):
                    for wanted in ALL:
                        selected = SelectedProperty(wanted, editor, model)
                        yield PropertyItem.from_parent(self, name=selected.name, selected=selected)


class PropertyItem(pytest.Item):
    """One property of an editor on a model."""

    def __init__(self, *, selected: SelectedProperty, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.selected = selected
        self.originalname = selected.wanted.name
        assert isinstance(self.parent, PropertyModule)
        self.ours: PitfallsSession = self.parent.run_session

    def runtest(self) -> None:
        """Look for edits that show that the editor does not have the property."""
        ours = self.ours
        if (why := ours.models.unavailable) is not None:
            pytest.skip(why)
        try:
            with ours.timers.stopped():
                self._look_in_time()
        except UsageError as error:
            ours.usage_error = str(error)
            self.session.shouldstop = ours.usage_error.splitlines()[0]
            raise

    def _look_in_time(self) -> None:
        from pytest_editpitfalls.properties import PropertyFailed
        from pytest_editpitfalls.properties.drawn import TooSlow

        try:
            self._look()
        except TooSlow as error:
            selected = self.selected
            self.stash[RECORD] = PropertyRecord(
                property=selected.wanted.name,
                says=selected.wanted.says,
                editor=selected.editor,
                model=selected.model,
                outcome="failed",
                failure=error.what,
            )
            raise PropertyFailed(visible(f"{selected.wanted.name}: {error.what}", keep_newlines=True)) from None

    def _look(self) -> None:
        from pytest_editpitfalls.properties import PropertyFailed
        from pytest_editpitfalls.properties.drawn import from_text, in_words
        from pytest_editpitfalls.properties.examination import EXAMPLES, examine, replay

        wanted, run = self.selected.wanted, self.ours.run
        bench = self.ours.properties.bench(self.selected)
        declared = bench.declaration.violates.get(wanted.name)
        if run.properties.example is None:
            found = examine(
                bench, wanted, examples=run.limit or EXAMPLES, drawn_under=run.seed, shrink=declared is None
            )
        else:
            found = replay(bench, wanted, from_text(run.properties.example, bench.facts, where="--pitfalls-example"))
        edits = None if found.edits is None else in_words(found.edits)
        line = None if found.edits is None else rerun_of_property(self.selected, run, found.edits)
        self.stash[RECORD] = record = PropertyRecord(
            property=wanted.name,
            says=wanted.says,
            editor=self.selected.editor,
            model=self.selected.model,
            outcome="passed",
            examples=found.examples,
            declared=declared,
            edits=edits or [],
            failure=found.failure or None,
            replay=line,
        )
        if found.skipped is not None:
            record.outcome, record.failure = "skipped", found.skipped
            pytest.skip(found.skipped)
        if wanted.name == "declared_weights" and found.edits is None and not bench.declares_weights:
            record.outcome = "skipped"
            record.failure = (
                "the base model is left as it was, but the editor does not say which weights it may change: "
                "give it 'weights' (docs/properties.md)"
            )
            pytest.skip(record.failure)
        is_own = not EDITORS.is_ours(self.selected.engine_editor)
        if found.edits is None and declared is not None and run.properties.example is None and is_own:
            record.outcome = "failed"
            record.failure = (
                f"declared as violated ({declared}), and it holds for all {found.examples} sequences of edits that "
                f"were looked at; take '{wanted.name}' out of the editor's 'violates', or look at more with "
                "--pitfalls-limit"
            )
            raise PropertyFailed(f"{wanted.name}: {record.failure}")
        if found.edits is None:
            return
        text = f"{wanted.name}: it is not so that {wanted.says}\n{found.failure}\nreplay: {line}"
        text = visible(text, keep_newlines=True)
        if declared is not None:
            record.outcome = "xfailed"
            pytest.xfail(f"declared: {declared}\n{text}")
        record.outcome = "failed"
        raise PropertyFailed(text)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Place and name, for verbose lines."""
        return self.path, None, self.name

    @cached_property
    def location(self) -> tuple[str, int | None, str]:
        """The node id's place: no such file exists."""
        return f"{NODE_FOLDER}/{PROPERTIES}.py", None, self.name


class Benches:
    """The editors of a run on the model that is open, made when they are needed; the facts are read once."""

    def __init__(self, ours: PitfallsSession, say: Callable[[str], None]) -> None:
        self._ours, self._say = ours, say
        self._model = ""
        self._benches: dict[str, EditorBench] = {}

    def bench(self, selected: SelectedProperty) -> EditorBench:
        """Return the editor on its model.

        Raises:
            UsageError: the model or the facts cannot be used, or the model holds fewer than two of them.
        """
        from pytest_editpitfalls.properties import EditorBench, held_facts

        if self._model != selected.model:
            self._model, self._benches = selected.model, {}
        if selected.editor not in self._benches:
            session, limit = self._ours.executor.session(selected.model, selected.seed), self._ours.run.timeout
            bench = EditorBench(session, selected.engine_editor, self.facts, limit, self._say)
            if self._ours.run.held_only:
                if len(held := held_facts(bench, self.facts)) < 2:
                    pytest.skip(f"the model holds {len(held)} of {len(self.facts)} facts (--pitfalls-held-only)")
                bench = EditorBench(session, selected.engine_editor, held, limit, self._say)
            self._benches[selected.editor] = bench
        return self._benches[selected.editor]

    @cached_property
    def facts(self) -> tuple[FactToEdit, ...]:
        """What edits are drawn from."""
        from pytest_editpitfalls.properties import facts_to_edit

        asked = self._ours.run.properties
        return facts_to_edit(asked.facts, asked.relations)


def check_properties(ours: PitfallsSession) -> None:
    """See whether properties can be looked at in this run, before a model is loaded.

    Raises:
        UsageError: hypothesis is missing, an editor declares a property that is none, or the example is wrong.
    """
    run = ours.run
    if importlib.util.find_spec("hypothesis") is None:
        raise UsageError(
            "hypothesis is not installed",
            where=f"--pitfalls-suite={PROPERTIES}",
            fix='pip install "pytest-editpitfalls[properties]"',
        )
    from pytest_editpitfalls.properties import property_of
    from pytest_editpitfalls.properties.drawn import from_text

    for label in run.editors:
        declaration = EDITORS.get(editor_name(label), where="--pitfalls-editor")
        for field in ("violates", "epsilon"):
            for name in getattr(declaration, field):
                property_of(name, where=f"editor '{declaration.name}', {field}")
    if run.properties.example is not None:
        from_text(run.properties.example, ours.properties.facts, where="--pitfalls-example")


def collect_properties(session: pytest.Session, ours: PitfallsSession, selection: Selection) -> list[pytest.Item]:
    """Return the items of the properties; raises `UsageError` where a node id matches none.

    Of several shards the first one has them.
    """
    if not selection.properties or (ours.run.shard is not None and ours.run.shard.number > 1):
        return []
    items = list(PropertyModule.of(session, ours).collect())
    if targets := selection.targets.get(PROPERTIES):
        check_targets(targets, ((item.originalname, item.name) for item in items))
        items = [item for item in items if any(t.covers(item.originalname, item.name) for t in targets)]
    return list(items)


def rerun_of_property(selected: SelectedProperty, run: RunConfig, edits: Sequence[DrawnEdit]) -> str:
    """Return the command that looks at these edits again."""
    from pytest_editpitfalls.properties.drawn import as_text
    from pytest_editpitfalls.reports.view.reruns import quoted

    asked = run.properties
    return quoted(
        [
            "pytest",
            f"{NODE_FOLDER}/{PROPERTIES}.py::{selected.name}",
            *(f"--pitfalls-facts={path}" for path in asked.facts),
            *([f"--pitfalls-relations={asked.relations}"] if asked.relations is not None else []),
            *settings_of(selected.editor, selected.model, run),
            f"--pitfalls-example={as_text(edits)}",
        ]
    )


def shows_itself(item: pytest.Item, error: BaseException | None) -> bool:
    """Whether an error of a property says all in its message, and needs no traceback."""
    if not isinstance(item, PropertyItem) or error is None:
        return False
    from pytest_editpitfalls.properties import PropertyFailed

    return isinstance(error, PropertyFailed)


def property_names() -> list[str]:
    """Return the names of all properties, in their order."""
    from pytest_editpitfalls.properties import PROPERTIES as ALL

    return [each.name for each in ALL]


def property_wire(item: pytest.Item, report: pytest.TestReport) -> dict[str, Any] | None:
    """Return what travels on pytest's report of a property; None for another item, and before its call."""
    if not isinstance(item, PropertyItem) or (report.when != "call" and report.passed):
        return None
    selected = item.selected
    record = item.stash.get(RECORD, None)
    if record is None:
        outcome = "skipped" if report.skipped else "error" if report.failed else "passed"
        record = PropertyRecord(
            property=selected.wanted.name,
            says=selected.wanted.says,
            editor=selected.editor,
            model=selected.model,
            outcome=outcome,
        )
        if report.failed:
            record.failure = str(report.longrepr)
    wire: dict[str, Any] = {"record": json.loads(record.model_dump_json()), "usage_error": item.ours.usage_error}
    return wire
