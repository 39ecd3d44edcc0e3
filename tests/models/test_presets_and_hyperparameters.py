"""Presets by model, and hyper-parameters from presets, configuration and command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.engine.editors.presets import preset_for
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.rome.hyperparameters import RomeHyperparameters
from pytest_editpitfalls.engine.families import families
from pytest_editpitfalls.engine.hyperparameters.module_names import module_name_notes
from pytest_editpitfalls.engine.hyperparameters.toml import toml_value
from pytest_editpitfalls.errors import UsageError

SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.mark.parametrize(
    ("name", "n_layers", "layer", "steps"),
    [
        ("gpt2-xl", 48, 17, 20),
        ("openai-community/gpt2-xl", 48, 17, 20),
        ("/models/gpt2-xl", 48, 17, 20),
        ("EleutherAI/gpt-j-6B", 28, 5, 20),
        ("gpt-j-6b", 28, 5, 20),
        ("EleutherAI/gpt-neox-20b", 44, 15, 20),
        ("meta-llama/Llama-2-7b-hf", 32, 5, 25),
        ("mistralai/Mistral-7B-v0.1", 32, 5, 25),
        ("Qwen/Qwen2.5-7B", 28, 5, 25),
        ("smollm2-135m", 30, 8, 20),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", 30, 8, 20),
    ],
)
def test_presets(name: str, n_layers: int, layer: int, steps: int) -> None:
    values = resolve_hyperparameters("rome", RomeHyperparameters, name, n_layers)
    assert (values.layers, values.v_num_grad_steps) == ((layer,), steps)
    assert values.v_loss_layer == n_layers - 1


def test_a_preset_is_not_used_for_another_depth() -> None:
    assert preset_for("rome", "gpt2-xl", 4) is None
    assert resolve_hyperparameters("rome", RomeHyperparameters, "gpt2-xl", 4).source.startswith(
        "no preset for this model"
    )


@pytest.mark.parametrize(("n_layers", "layer"), [(1, 0), (2, 1), (4, 1), (12, 4), (32, 10), (48, 14)])
def test_scaled_defaults_for_unknown_models(n_layers: int, layer: int) -> None:
    values = resolve_hyperparameters("rome", RomeHyperparameters, "someone/unknown", n_layers)
    assert values.layers == (layer,)
    assert values.mom2_adjustment
    assert RomeHyperparameters.scaled(n_layers)["layers"] == [layer]


def test_every_published_rome_row_is_there() -> None:
    published = SHARED / "presets.json"
    if not published.is_file():
        pytest.skip("the published presets are not here (EDITPITFALLS_SHARED)")
    for model, row in json.loads(published.read_text())["ROME"].items():
        ours = preset_for("rome", model, row["v_loss_layer"] + 1)
        assert ours is not None, model
        assert ours == {key: row[key] for key in ours}, model


def test_later_sources_win(tmp_path: Path) -> None:
    values = resolve_hyperparameters(
        "rome",
        RomeHyperparameters,
        "gpt2-xl",
        48,
        {"v_lr": 0.3, "layers": [3]},
        {"v_lr": "0.1", "kl_factor": ".5"},
    )
    assert (values.v_lr, values.layers, values.kl_factor) == (0.1, (3,), 0.5)
    assert values.clamp_norm_factor == 4


def test_paths_start_at_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("A document.\n")
    values = resolve_hyperparameters(
        "rome",
        RomeHyperparameters,
        "x/y",
        4,
        {"mom2_corpus": "corpus.txt"},
        config_path=tmp_path / "rome.toml",
    )
    assert values.mom2_corpus == tmp_path / "corpus.txt"
    assert values.mom2_ridge is None
    with pytest.raises(UsageError, match=r"rome\.toml \[rome\] mom2_corpus: .* there is no file"):
        resolve_hyperparameters(
            "rome",
            RomeHyperparameters,
            "x/y",
            4,
            {"mom2_corpus": "no.txt"},
            config_path=tmp_path / "rome.toml",
        )


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("v_lrr", "1", "unknown hyper-parameter 'v_lrr'\n  fix: did you mean 'v_lr'"),
        ("v_lr", "fast", "bad value 'fast'"),
        ("v_lr", "0", "above 0"),
        ("v_lr", "nan", "finite"),
        ("layers", "30", "the model has the layers 0 to 29"),
        ("layers", "-1", "the model has the layers 0 to 29"),
        ("layers", "[1, 2]", "at most 1 item"),
        ("layers", "[]", "at least 1 item"),
        ("v_loss_layer", "3", "only the last block is supported"),
        ("fact_token", "last", "has to be 'subject_last'"),
        ("v_num_grad_steps", "0", "at least 1"),
        ("clamp_norm_factor", "-1", "above 0"),
        ("context_templates", '["no slot"]', "needs exactly one {}"),
        ("context_templates", '["{} and {}"]', "needs exactly one {}"),
        ("context_templates", "[]", "at least 1 item"),
        ("context_template_length_params", "[[0, 2]]", "both at least 1"),
        ("mom2_corpus", "missing.txt", "there is no file missing.txt"),
        ("mom2_ridge", "-0.1", "at least 0"),
        ("mom2_dtype", "int8", "'float32' or 'float64'"),
    ],
)
def test_bad_values_say_where_they_stand(key: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_hyperparameters("rome", RomeHyperparameters, "smollm2-135m", 30, overrides={key: text})
    assert str(caught.value).startswith(f"--pitfalls-set rome.{key}: ")
    assert message in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def test_one_source_of_second_moments(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("A document.\n")
    overrides = {"mom2_corpus": str(tmp_path / "corpus.txt"), "mom2_dataset": "wikipedia"}
    with pytest.raises(UsageError, match="mom2_dataset and mom2_corpus are both given"):
        resolve_hyperparameters("rome", RomeHyperparameters, "smollm2-135m", 30, overrides=overrides)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("true", True),
        ("[8]", [8]),
        ('"x"', "x"),
        ("corpus.txt", "corpus.txt"),
        (".5", ".5"),
        ("", ""),
        ("1\nb = 2", "1\nb = 2"),
    ],
)
def test_toml_values(text: str, value: Any) -> None:
    assert toml_value(text) == value


def test_hyperparameters_are_frozen_and_plain() -> None:
    values = resolve_hyperparameters("rome", RomeHyperparameters, "smollm2-135m", 30)
    with pytest.raises(ValueError, match="frozen"):
        values.v_lr = 1.0  # type: ignore[misc]
    again = RomeHyperparameters.model_validate(json.loads(values.model_dump_json()))
    assert again == values


def test_module_names_of_published_files() -> None:
    """The released names are accepted where they mean our modules; others are refused or noted."""
    family = families().get("gpt2")
    assert not callable(family)
    names = {
        "rewrite_module_tmp": "transformer.h.{}.mlp.c_proj",
        "layer_module_tmp": "transformer.h.{}",
        "mlp_module_tmp": "transformer.h.{}.mlp",
        "attn_module_tmp": "transformer.h.{}.attn",
        "ln_f_module": "transformer.ln_f",
        "lm_head_module": "transformer.wte",
    }
    notes = module_name_notes(resolve_hyperparameters("rome", RomeHyperparameters, "gpt2-xl", 48, names), family)
    assert [note.split()[0] for note in notes] == ["attn_module_tmp", "ln_f_module", "lm_head_module"]
    names["rewrite_module_tmp"] = "transformer.h.{}.mlp.c_fc"
    with pytest.raises(UsageError, match="but family 'gpt2' has 'transformer"):
        module_name_notes(resolve_hyperparameters("rome", RomeHyperparameters, "gpt2-xl", 48, names), family)
