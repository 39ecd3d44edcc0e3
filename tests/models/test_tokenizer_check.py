"""A tokenizer that does not fit its model is refused on loading, not by an index error in the middle of a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_level_tokenizer, metaspace_tokenizer, save_tiny
from transformers import AutoModelForCausalLM

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import load, resolve
from pytest_editpitfalls.errors import UnscorableCase, UsageError


def changed(tokenizer: Any, change: Callable[[Any], Any]) -> Any:
    change(tokenizer)
    return tokenizer


def loaded(path: Path, tokenizer: Any) -> tuple[Any, Any]:
    for file in path.glob("token*"):
        file.unlink()
    tokenizer.save_pretrained(path)
    return load(resolve(str(path), cache_dir=path.parent / "cache"), device="cpu")


@pytest.mark.parametrize(
    ("family", "tokenizer", "message"),
    [
        (
            "gpt2",
            metaspace_tokenizer,
            r"has 200 token\(s\) that the model has no embedding for: .* the id 400, .* 400 rows",
        ),
        (
            "gpt2",
            lambda: changed(byte_level_tokenizer(), lambda t: t.add_tokens(["Lutetia", "Edo"])),
            r"2 token\(s\) .*: 'Lutetia' has the id 400",
        ),
        (
            "gpt2",
            lambda: changed(byte_level_tokenizer(), lambda t: t.add_special_tokens({"pad_token": "<pad>"})),
            r"1 token\(s\) .*: '<pad>', its pad token, has the id 400",
        ),
        (
            "gpt2",
            lambda: changed(byte_level_tokenizer(), lambda t: t.add_special_tokens({"bos_token": "<s>"})),
            "'<s>', its bos token, has the id 400",
        ),
        ("llama", byte_level_tokenizer, "another model's: it has ids for 400 of 600 .* bos token is 0, .* says 1"),
    ],
)
def test_refused(family: str, tokenizer: Callable[[], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        loaded(save_tiny(tmp_path / "m", family), tokenizer())
    assert caught.value.fix


def test_rows_that_no_token_has_are_fine(tmp_path: Path) -> None:
    """Embeddings are padded for speed."""
    path = save_tiny(tmp_path / "m", "gpt2")
    model = AutoModelForCausalLM.from_pretrained(path)
    model.resize_token_embeddings(512)
    model.save_pretrained(path)
    assert len(loaded(path, byte_level_tokenizer())[1]) == 400


def test_a_placeholder_beyond_the_rows_is_left_out_of_texts(tmp_path: Path) -> None:
    """As Gemma 3's text models have one for images."""
    placeholder = changed(
        byte_level_tokenizer(), lambda t: t.add_special_tokens({"additional_special_tokens": ["<image>"]})
    )
    model, tokenizer = loaded(save_tiny(tmp_path / "m", "gpt2"), placeholder)
    assert tokenizer.get_vocab()["<image>"] == 400
    encoder = ModelAdapter.of(model, tokenizer, family_for(model.config)).encoder
    assert encoder.prompt("The capital of France is")
    with pytest.raises(UnscorableCase, match="no embedding for '<image>' in 'Look: <image>'"):
        encoder.prompt("Look: <image>")
    with pytest.raises(UnscorableCase, match="no embedding for '<image>'"):
        encoder.target("an <image>")
