"""The options about facts: the user's own edits, and the facts that properties of editors draw edits from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import absolute

from .config import EditsConfig, PropertiesConfig
from .defaults import NODE_FOLDER, PROPERTIES
from .given import ini_flag, ini_list, ini_text
from .node_ids import is_suite_module, path_of_node
from .paths import expanded, path_of, unique


def read_properties(config: pytest.Config, here: Path, root: Path, suites: Iterable[str]) -> PropertiesConfig:
    """Return what is asked of properties: by ``--pitfalls-suite``, ini, or a node id."""
    wanted, node_id = PROPERTIES in suites, f"{NODE_FOLDER}/{PROPERTIES}.py"
    is_named = any(path_of_node(each).stem == PROPERTIES and is_suite_module(each, here) for each in config.args)
    example = config.getoption("pitfalls_example")
    if example is not None and not wanted and not is_named:
        raise UsageError(
            "there is no property that the edits could be an example for",
            where="--pitfalls-example",
            fix=f"name one: pytest '{node_id}::idempotent', or all with --pitfalls-suite={PROPERTIES}",
        )
    if not wanted and not is_named:
        return PropertiesConfig()
    if config.getoption("pitfalls_edited"):
        raise UsageError(
            "properties are those of an editor, and a finished checkpoint has none",
            where=f"--pitfalls-suite={PROPERTIES}",
            fix="give --editor instead of --edited",
        )
    return PropertiesConfig(wanted, example, *_knowledge(config, here, root))


def read_edits(config: pytest.Config, here: Path, root: Path, properties: PropertiesConfig) -> EditsConfig | None:
    """Return the user's own edits; a typed path starts where pytest was started, one of ini at the ini file."""
    edits = _typed_or_ini(config, "edits", here, root)
    if edits is None:
        used = {"facts", "relations"} if properties.facts or properties.relations else set[str]()
        for name in ("together", "facts", "relations", "rules"):
            if name not in used and config.getoption(f"pitfalls_{name}"):
                raise UsageError(
                    "there are no edits that it could be about",
                    where=f"--pitfalls-{name}",
                    fix="name a list of edits with --pitfalls-edits",
                )
        return None
    facts, relations = _knowledge(config, here, root)
    return EditsConfig(
        path=absolute(edits),
        together=bool(config.getoption("pitfalls_together") or ini_flag(config, "together")),
        facts=facts,
        relations=relations,
        rules=_typed_or_ini(config, "rules", here, root),
        asked=bool(config.getoption("pitfalls_edits")),
    )


def _knowledge(config: pytest.Config, here: Path, root: Path) -> tuple[tuple[Path, ...], Path | None]:
    """Return the user's tables of facts, and relations."""
    typed = (here / expanded(name, "--pitfalls-facts") for name in unique(config.getoption("pitfalls_facts") or ()))
    from_ini = (root / expanded(name, "the ini key pitfalls_facts") for name in unique(ini_list(config, "facts")))
    return tuple(typed) or tuple(from_ini), _typed_or_ini(config, "relations", here, root)


def _typed_or_ini(config: pytest.Config, name: str, here: Path, root: Path) -> Path | None:
    typed = path_of(config.getoption(f"pitfalls_{name}"), here, f"--pitfalls-{name}")
    return typed or path_of(ini_text(config, name), root, f"the ini key pitfalls_{name}")
