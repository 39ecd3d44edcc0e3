"""What pytest's own ``--junitxml`` file says of cases and of the run: as properties, pytest writes the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _pytest.junitxml import xml_key

from pytest_editpitfalls.escaping import visible

from .view.verdicts import AnyGate, state_of

if TYPE_CHECKING:
    import pytest

    from pytest_editpitfalls.results.records import CaseRecord, RunResults

PREFIX = "pitfalls."


def case_properties(record: CaseRecord) -> list[tuple[str, str]]:
    """Return the properties of a case's item, for ``item.user_properties``: they travel with its report.

    Metrics are fractions in full precision; one that is unknown is left out. pytest escapes what XML cannot say.
    """
    facts = {
        "suite": record.suite,
        "case": record.id,
        "editor": record.editor,
        "model": record.model,
        "rule": record.rule,
        "outcome": record.outcome,
        "held": {True: "true", False: "false", None: ""}[record.held],
    }
    metrics = {f"metric.{name}": repr(float(value)) for name, value in record.metrics.items() if value is not None}
    return [(PREFIX + visible(name), value) for name, value in {**facts, **metrics}.items() if value]


def run_properties(results: RunResults) -> list[tuple[str, str]]:
    """Return the properties of the whole file: editors, models, seed, aggregates, gates and reasons."""
    run = results.run
    properties = [
        ("editors", ", ".join(dict.fromkeys(editor.name for editor in run.editors))),
        ("models", ", ".join(model.name for model in run.models)),
        ("fingerprints", ", ".join(model.fingerprint or "" for model in run.models)),
        ("seed", str(run.seed)),
        ("metric_definitions", run.metric_definitions),
    ]
    for aggregate in results.aggregates:
        place = f"{aggregate.suite}.{aggregate.editor}.{aggregate.model}"
        properties += [
            (f"mean.{place}.{name}", repr(float(cell.value)))
            for name, cell in aggregate.metrics.items()
            if cell.value is not None
        ]
    named: list[tuple[str, AnyGate]] = [(gate.gate, gate) for gate in results.gates]
    named += [(f"{gate.gate}.{gate.suite}", gate) for gate in results.relative_gates]
    properties += [
        (f"gate.{name}{f'.{gate.editor}.{gate.model}' if gate.editor else ''}", state_of(gate)) for name, gate in named
    ]
    properties += [
        (f"reason.{each.what}.{each.suite}.{each.editor}.{each.model}", visible(each.text)) for each in results.reasons
    ]
    return [(PREFIX + visible(name), value) for name, value in properties if value]  # pytest escapes values alone


def add_run_properties(config: pytest.Config, results: RunResults) -> None:
    """Give `run_properties` to pytest's JUnit report, where one is asked for; call it before the session ends.

    On the controller of a distributed run, which writes the file. `record_testsuite_property` does the same, and is a
    fixture: no plugin can use it once the tests are over.
    """
    xml = config.stash.get(xml_key, None)
    if xml is not None:
        for name, value in run_properties(results):
            xml.add_global_property(name, value)
