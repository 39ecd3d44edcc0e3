"""An editor ships because its folder is there: nothing else lists it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_editpitfalls.engine.editors import shipped
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS, SHIPS
from pytest_editpitfalls.engine.editors.presets import _presets
from pytest_editpitfalls.engine.editors.shipped import shipped_editors, shipped_names

FOLDER = Path(shipped.__file__).parent


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_every_folder_is_an_editor_of_that_name() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert {editor.name.replace("-", "_") for editor in shipped_editors()} == folders
    assert shipped_names() == {editor.name for editor in shipped_editors()}


def test_lists_are_in_the_declared_order() -> None:
    orders = [editor.order for editor in shipped_editors()]
    assert orders == sorted(set(orders)), "two editors have the same place in lists"
    assert [name for name in EDITORS if EDITORS.origin(name) == SHIPS] == [e.name for e in shipped_editors()]


def test_presets_of_one_model_agree_on_its_depth() -> None:
    depths: dict[str, set[int]] = {}
    for name in shipped_names():
        for model, row in _presets(name).items():
            depths.setdefault(model, set()).add(row["n_layers"])
    assert depths
    assert {model: found for model, found in depths.items() if len(found) > 1} == {}


def test_an_editor_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from pytest_editpitfalls.engine.editors.editor_registry import EDITORS;"
        "assert 'ft-l' in EDITORS; EDITORS.get('rome');"
        "parts = [m.split('.') for m in sys.modules if m.startswith('pytest_editpitfalls.engine.editors.')];"
        f"print(sorted({{p[3] for p in parts}} & {set(map(str, shipped_names()))!r}));"
        "list(EDITORS); print(sorted({'torch', 'transformers', 'pydantic'} & set(sys.modules)))"
    )
    assert run(code).split() == ["['rome']", "[]"]


def test_a_new_folder_is_a_new_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new_one"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (tmp_path / "no_package").mkdir()
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "shipped.py"))
    assert shipped_names.__wrapped__() == {"new-one"}
