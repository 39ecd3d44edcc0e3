"""The file of hyper-parameters of an editor in a checkout: a changed file is another editor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from store_samples import description, settings

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.engine.outside.collection import outside_editor
from pytest_editpitfalls.store.identity import RunHeader, run_header


@dataclass
class HParams:
    layer: int


@pytest.fixture(autouse=True)
def no_editors_left() -> Iterator[None]:
    yield
    EDITORS.forget_added()


def made(folder: Path, given: str) -> RunHeader:
    def edit(model: Any, tokenizer: Any, requests: Any, hparams: HParams) -> None:
        """Somebody's editor."""

    edit.__annotations__["hparams"] = HParams
    EDITORS.forget_added()
    EDITORS.add("own", in_place_editor(folder=folder)(edit), origin="a test")
    set_up = settings(overrides={"own": {"hparams": given}})
    return run_header("own", set_up, description(), model_label="tiny", run_id="this run")


@pytest.mark.parametrize("where", ["checkout", "working directory"])
def test_a_file_counts_by_its_content_wherever_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    checkout, here = tmp_path / "checkout", tmp_path / "here"
    home = checkout if where == "checkout" else here
    (home / "hparams").mkdir(parents=True)
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    file = home / "hparams" / "a.yaml"
    file.write_text("layer: 1\n")
    first = made(checkout, "hparams/a.yaml")
    assert made(checkout, str(file)).key == first.key  # where it lies does not count
    assert made(checkout, "{layer = 1}").key != first.key
    file.write_text("layer: 2\n")
    assert made(checkout, "hparams/a.yaml").key != first.key


CODE = """
from dataclasses import dataclass


@dataclass
class HParams:
    stats_dir: str = ""


def apply(model, tok, requests, hparams: HParams):
    pass
"""
EASYEDIT = {
    "easyeditor/util/alg_dict.py": "from ..models.fine import HParams, apply\nALG_DICT = {'FINE': apply}\n",
    "easyeditor/models/fine.py": CODE,
}
ROME = {
    "experiments/evaluate.py": "from rome import HParams, apply\nALG_DICT = {'FINE': (HParams, apply)}\n",
    "rome/__init__.py": CODE,
}


def of_checkout(name: str, folder: Path, given: str) -> RunHeader:
    EDITORS.forget_added()
    EDITORS.add("own", outside_editor(f"{name}:FINE", {name: folder}, where="--editor"), origin="a test")
    set_up = settings(overrides={"own": {"hparams": given}})
    return run_header("own", set_up, description(), model_label="tiny", run_id="this run")


@pytest.mark.parametrize(
    ("name", "files", "given", "folder"),
    [
        ("easyedit", EASYEDIT, "a.yaml", "statistics"),
        ("easyedit", EASYEDIT, '{stats_dir = "statistics"}', "statistics"),
        ("rome", ROME, "a.json", "data/stats"),
    ],
)
def test_second_moments_count_by_what_their_folder_lists(
    tmp_path: Path, name: str, files: dict[str, str], given: str, folder: str
) -> None:
    for path, text in (files | {"a.yaml": "stats_dir: ./statistics\n", "a.json": '{"layers": [1]}'}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    keys = [of_checkout(name, tmp_path, given).key]
    matrix = tmp_path / folder / "gpt2-xl" / "wikipedia_stats" / "layer.npz"
    matrix.parent.mkdir(parents=True)
    matrix.write_text("one")
    keys.append(of_checkout(name, tmp_path, given).key)
    assert of_checkout(name, tmp_path, given).key == keys[-1]
    matrix.write_text("another")
    keys.append(of_checkout(name, tmp_path, given).key)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.npz").write_text("not theirs")
    assert of_checkout(name, tmp_path, given).key == keys[-1]
    assert len(set(keys)) == 3
