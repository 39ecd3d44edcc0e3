"""Editing from a notebook or a script: `EditableModel`, and what it says where it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.editors import EditableModel, EditRequest
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.errors import CaseError, UsageError
from tests.tiny_models import save_tiny

ROME = EditRequest("The capital of {} is", "France", "Rome", target_true="Paris")
TOKYO = EditRequest("The capital of {} is", "Italy", "Tokyo")
ASKED = [("The capital of France is", "Rome"), ("The capital of Italy is", "Tokyo")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> EditableModel:
    folder = tmp_path_factory.mktemp("editable")
    save_tiny(folder / "tiny-llama", "llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(folder / "cache"))
        return EditableModel.open(
            str(folder / "tiny-llama"), hyperparameters={"ft": {"layers": [1], "num_steps": "10", "lr": 0.05}}
        )


@pytest.fixture(autouse=True)
def _no_editor_is_left() -> Iterator[None]:
    yield
    EDITORS.forget_added()


def logits(model: EditableModel, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.model(**model.tokenizer(prompt, return_tensors="pt")).logits[0, -1]
    return found


def test_probabilities_are_those_of_the_edited_model(opened: EditableModel) -> None:
    """A row before, and one after each edit; by hand on the Hugging Face model it is the same."""
    before = logits(opened, ASKED[0][0])
    rows = opened.probabilities("ft", [ROME, TOKYO], ASKED)
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[1][0] > 2 * rows[0][0], "the first edit takes"
    assert rows[2][1] > 2 * rows[1][1], "the second edit takes"
    assert opened.probabilities("ft", ROME, ASKED)[0] == pytest.approx(rows[0], rel=1e-5)
    assert opened.probabilities("ft", [], ASKED) == [pytest.approx(rows[0], rel=1e-5)], "no edit, no further row"
    tokens = opened.tokenizer(" Rome", add_special_tokens=False)["input_ids"]
    with opened.edited("ft", ROME) as model:
        assert model is opened.model
        text = opened.tokenizer(ASKED[0][0], return_tensors="pt")["input_ids"]
        whole = torch.cat([text, torch.tensor([tokens])], dim=1)
        with torch.no_grad():
            found = model(whole).logits[0].log_softmax(-1)
        by_hand = [float(found[text.shape[1] - 1 + place, token]) for place, token in enumerate(tokens)]
    assert math.exp(sum(by_hand) / len(by_hand)) == pytest.approx(rows[1][0], rel=1e-4)
    assert torch.equal(logits(opened, ASKED[0][0]), before), "it is the base model again"


def test_text_before_the_prompt_has_probabilities(opened: EditableModel) -> None:
    """ICE and IKE change no model: there is none to lend, but what they make likely can be asked."""
    base, edited = opened.probabilities("ice", ROME, ASKED[:1])
    assert base != edited
    with pytest.raises(CaseError, match="which a model object cannot carry"), opened.edited("ice", ROME):
        pass


def test_a_function_of_ones_own_and_defined_anew(opened: EditableModel) -> None:
    """As a cell of a notebook is run again: what is asked is the function of now."""

    def make(factor: float) -> Any:
        def shrink(model: Any, tokenizer: Any, requests: Any) -> Any:
            model.model.layers[1].mlp.down_proj.weight.data.mul_(factor)
            return model

        return shrink

    weight = opened.model.model.layers[1].mlp.down_proj.weight
    kept = weight.detach().clone()
    rows = [opened.probabilities(make(factor), ROME, ASKED[:1])[1] for factor in (0.0, 3.0, 0.0)]
    assert rows[0] == pytest.approx(rows[2])
    assert rows[1] != pytest.approx(rows[0], rel=1e-3)
    assert torch.equal(weight, kept)


@pytest.mark.parametrize(
    ("editor", "edit", "message"),
    [
        ("ft", EditRequest("The capital of France is", "France", "Rome"), "has no place for the subject"),
        ("ft", EditRequest("The capital of {} is", "France", ""), "needs a subject and a new object"),
        ("romme", ROME, "unknown editor 'romme'"),
    ],
)
def test_what_cannot_be_edited(opened: EditableModel, editor: str, edit: EditRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened.probabilities(editor, edit, ASKED)
    with pytest.raises(UsageError, match=message), opened.edited(editor, edit):
        pass


def test_two_at_a_time(opened: EditableModel) -> None:
    with opened.edited("ft", ROME), pytest.raises(CaseError, match="still open"):
        opened.probabilities("ft", TOKYO, ASKED)


def test_a_hyperparameter_that_is_none(tmp_path: Path) -> None:
    save_tiny(tmp_path / "tiny-gpt2", "gpt2")
    other = EditableModel.open(str(tmp_path / "tiny-gpt2"), hyperparameters={"ft": {"num_stepz": 3}})
    with pytest.raises(UsageError, match="num_stepz"):
        other.probabilities("ft", ROME, ASKED)
    with pytest.raises(UsageError, match="hyperparameters: unknown editor 'romme'"):
        EditableModel.open(str(tmp_path / "tiny-gpt2"), hyperparameters={"romme": {}})


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such"):
        EditableModel.open(str(tmp_path / "no-such"))
