"""What a review found in the editors since: when they compute, what they take, and where their paths start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from pytest_editpitfalls.engine.editors.anyedit.hyperparameters import AnyEditHyperparameters
from pytest_editpitfalls.engine.editors.simie.editor import Simie
from pytest_editpitfalls.engine.editors.simie.hyperparameters import SimieHyperparameters
from pytest_editpitfalls.engine.editors.ultraedit import editor as ultraedit
from pytest_editpitfalls.engine.editors.ultraedit.hyperparameters import UltraEditHyperparameters
from tests.engine.conftest import make_forward
from tests.engine.token_gradient_editors import resources


def test_ultraedit_says_what_it_is_before_it_computes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's key is made of it, also where every case is stored."""
    editor = ultraedit.UltraEdit(
        UltraEditHyperparameters(layers=(2,), lr=0.02, warm_up=4), resources(make_forward("gpt2"), tmp_path)
    )

    def forbidden(*_: object) -> None:
        raise AssertionError("it computes")

    monkeypatch.setattr(editor, "_tokens", forbidden)
    assert editor.describe()["warm_up"] == "4 facts that ship"


def test_ultraedit_leaves_out_facts_that_a_tokenizer_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ultraedit.warm_up_facts()[:3]
    monkeypatch.setattr(ultraedit, "warm_up_facts", lambda: (good[0], replace(good[1], target_new=""), good[2]))
    editor = ultraedit.UltraEdit(
        UltraEditHyperparameters(layers=(2,), lr=0.02, warm_up=3), resources(make_forward("gpt2"), tmp_path)
    )
    editor.prepare()
    assert editor._warm


def test_anyedit_refuses_what_it_would_not_do() -> None:
    values = AnyEditHyperparameters.scaled(8)
    with pytest.raises(ValidationError, match="nas"):
        AnyEditHyperparameters.model_validate(values | {"nas": True})


def test_paths_of_the_editor_that_simie_is_put_on_start_at_the_file(tmp_path: Path) -> None:
    own = resources(make_forward("gpt2"), tmp_path)
    config = tmp_path / "configs" / "simie.toml"
    config.parent.mkdir()
    (config.parent / "corpus.txt").write_text("Rain fell. " * 400)
    settings = replace(own.settings, config_path=config)
    hyperparameters = SimieHyperparameters(editing_method="memit", hparams={"mom2_corpus": "corpus.txt"})
    editor = Simie(hyperparameters, replace(own, settings=settings))
    assert Path(str(editor.describe()["put_on"]["hyperparameters"]["mom2_corpus"])) == config.parent / "corpus.txt"
