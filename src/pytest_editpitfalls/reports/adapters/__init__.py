"""What other people's reports say of a case: one module of this folder for each plugin, found by being here.

A module says ``ADAPTER = Adapter(...)``. It is imported in a run with an editor; the other plugin's own modules are
imported when there is something to add to its report.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.reports.view.cases import headline, in_words
from pytest_editpitfalls.reports.view.words import plain

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.case import Kind
    from pytest_editpitfalls.results.records import CaseRecord


@dataclass(frozen=True)
class CaseOfItem:
    """A case whose item has just been reported, in the process that ran the item.

    Attributes:
        report: pytest's report of the phase that decides: the call, or a setup or teardown that failed.
        story: the case in words, escaped for a terminal; several lines.
    """

    item: pytest.Item
    report: pytest.TestReport
    record: CaseRecord
    story: str


@dataclass(frozen=True)
class Adapter:
    """How a case gets into one plugin's report.

    Attributes:
        package: the plugin's distribution.
        option: ``dest`` of the option that asks for its report.
        adder: adds a case; may raise.
    """

    package: str
    option: str
    adder: Callable[[CaseOfItem], None]

    def add(self, case: CaseOfItem) -> None:
        """Add a case. What goes wrong is a warning: another plugin's report must not cost ours."""
        try:
            self.adder(case)
        except Exception as error:
            case.item.warn(pytest.PytestWarning(f"{self.package} did not take the case: {error!r}"))


def wanted_adapters(config: pytest.Config) -> tuple[Adapter, ...]:
    """Return the adapters of the reports that this run writes."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: list[Adapter] = [importlib.import_module(f".{name}", __name__).ADAPTER for name in names]
    return tuple(adapter for adapter in found if config.getoption(adapter.option, None))


def story_of(case: CaseRecord, kind: Kind) -> str:
    """Return a case in words: which thresholds failed, its edits, facts before and after, metrics, remarks."""
    failed = any(threshold.passed is False for threshold in case.thresholds)
    lines = [headline(case, is_failing=failed or case.reason is not None), *in_words(case, pitfall_of(kind))]
    lines += [f"{name} = {plain(value)}" for name, value in case.metrics.items() if value is not None]
    if case.held is False:
        lines.append("held: false (the model does not know the facts that are edited)")
    return "\n".join([*lines, *(f"note: {visible(note)}" for note in case.notes)])
