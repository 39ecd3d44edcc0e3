"""Hyper-parameters of all shipped editors: published presets, scaled defaults, mistakes, docs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.models import hyperparameter_docs

from pytest_editpitfalls.engine.editors.grace.hyperparameters import GraceHyperparameters
from pytest_editpitfalls.engine.editors.mend.hyperparameters import MendHyperparameters, MendTraining
from pytest_editpitfalls.engine.editors.presets import preset_depth, preset_for, presets_table
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.families import Family, families
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.hyperparameters.module_names import module_name_notes
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LayerByLayerHyperparameters
from pytest_editpitfalls.engine.models.known import short_name_of
from pytest_editpitfalls.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", Path(__file__).parents[3] / "shared"))
KINDS: dict[str, type[Hyperparameters]] = {editor.name: editor.hyperparameter_class() for editor in shipped_editors()}
TRAININGS: dict[str, type[Hyperparameters]] = {
    f"train-{editor.name}": editor.training_class().options_class for editor in shipped_editors() if editor.training
}
FAMILY = {
    "gpt2": "gpt2",
    "gpt2-medium": "gpt2",
    "gpt2-large": "gpt2",
    "gpt2-xl": "gpt2",
    "gpt-j-6b": "gptj",
    "gpt-neox-20b": "gpt_neox",
    "llama-2-7b": "llama",
    "llama-3-8b": "llama",
    "llama-3.2-3b": "llama",
    "mistral-7b": "mistral",
    "qwen2-7b": "qwen2",
    "qwen2.5-7b": "qwen2",
}
PUBLISHED_NAMES = {
    "ft": "FT",
    "ft-l": "FT-L",
    "ft-m": "FT-M",
    "lora": "LoRA",
    "rome": "ROME",
    "r-rome": "R-ROME",
    "memit": "MEMIT",
    "emmet": "EMMET",
    "pmet": "PMET",
    "alphaedit": "AlphaEdit",
    "mend": "MEND",
    "grace": "GRACE",
    "wise": "WISE",
    "ike": "IKE",
}


def family(name: str) -> Family:
    found = families().get(name)
    assert isinstance(found, Family)
    return found


def resolved(editor: str, model: str = "smollm2-135m", n_layers: int = 30, **overrides: str) -> Any:
    return resolve_hyperparameters(editor, KINDS[editor], model, n_layers, overrides=overrides)


def published(editor: str) -> dict[str, dict[str, Any]]:
    path = SHARED / "presets.json"
    if not path.is_file():
        pytest.skip("the published presets are not here (EDITPITFALLS_SHARED)")
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))[PUBLISHED_NAMES[editor]]
    return rows


@pytest.mark.parametrize("row", presets_table(), ids=lambda row: f"{row.editor}-{row.model}")
def test_every_preset_is_valid_for_its_model(row: Any) -> None:
    values = resolved(row.editor, row.model, preset_depth(row.model))
    assert values.source == row.source
    assert tuple(getattr(values, "layers", ())) == row.layers
    assert preset_for(row.editor, row.model, preset_depth(row.model) + 1) is None


@pytest.mark.parametrize("editor", PUBLISHED_NAMES)
def test_presets_say_what_the_published_files_say(editor: str) -> None:
    """Every number that we ship stands in the published row of its source, or in a variant of it."""
    compared = 0
    for model, row in published(editor).items():
        depth = row.get("v_loss_layer", 0) + 1
        depths = [depth] if depth > 1 else [12, 24, 28, 32, 36, 44, 48]
        ours = next((found for d in depths if (found := preset_for(editor, model, d))), None)
        if ours is None:
            continue
        source = ours.pop("source")
        variant = next((v for v in row.get("variants", ()) if v["source"] == source), {})
        theirs = row | variant
        inner = " ".join(theirs.get("inner_params", ()))
        for layer in ours.pop("layers", ()) if inner else ():
            assert f"[{layer}]" in inner or f".{layer}." in inner
            assert ours.get("module", "mlp") in inner
        ours.pop("module", None)
        assert ours == {key: theirs[key] for key in ours}, model
        assert source.startswith(theirs["source"].partition(":")[0]), model
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("editor", PUBLISHED_NAMES)
def test_published_rows_are_accepted_whole(editor: str) -> None:
    """A user may paste a released file: names that mean nothing here are accepted, module names are checked."""
    accepted = 0
    for model, row in published(editor).items():
        short = short_name_of(model) or ""
        if short not in FAMILY or (editor, short) == ("wise", "gpt2-xl"):
            continue
        table = {k: v for k, v in row.items() if k not in ("source", "variants", "note")}
        kind: type[Hyperparameters] = KINDS[editor]
        if editor == "mend":
            kind = MendTraining
        if editor == "memit" and "emmet_lambda" in table:
            continue  # the file of a repository that keeps EMMET's fields in MEMIT's files
        values = resolve_hyperparameters(editor, kind, short, preset_depth(short), table)
        module_name_notes(values, family(FAMILY[short]))
        accepted += 1
    assert accepted >= 4


def test_the_odd_wise_file_is_not_used() -> None:
    assert preset_for("wise", "gpt2-xl", 48) is None
    assert resolved("wise", "gpt2-xl", 48).source.startswith("no preset")


def test_the_issue_s_models_have_what_was_found() -> None:
    found = {(row.editor, row.model) for row in presets_table()}
    assert ("memit", "gpt-neox-20b") in found
    assert ("emmet", "llama-3-8b") not in found
    assert ("ft-l", "mistral-7b") in found
    assert ("ft", "mistral-7b") not in found
    assert resolved("memit", "llama-2-7b", 32).layers == (4, 5, 6, 7, 8)
    assert resolved("grace", "gpt2-xl", 48).module == "mlp.c_fc"


@pytest.mark.parametrize("editor", [*KINDS, *TRAININGS])
@given(n_layers=st.integers(1, 120))
@example(n_layers=1)
@example(n_layers=2)
@example(n_layers=4)
@example(n_layers=12)
@example(n_layers=30)
@example(n_layers=48)
def test_scaled_defaults_are_valid_for_any_depth(editor: str, n_layers: int) -> None:
    kind = (KINDS | TRAININGS)[editor]
    values = resolve_hyperparameters(editor, kind, "someone/unknown", n_layers)
    assert values.source
    assert all(0 <= layer < n_layers for layer in getattr(values, "layers", ()))
    assert kind.model_validate(json.loads(values.model_dump_json())) == values


def test_memit_scales_to_what_edits_the_embedded_model() -> None:
    values = resolved("memit")
    assert values.layers == (4, 5, 6, 7, 8)
    assert (values.clamp_norm_factor, values.mom2_update_weight) == (4.0, 2000)
    assert values.context_template_length_params == ((10, 5),)


NUMBERS = sorted(
    {
        (editor, name)
        for editor, kind in KINDS.items()
        for name, field in kind.model_fields.items()
        if "float" in str(field.annotation) and "tuple" not in str(field.annotation)
    }
)


@pytest.mark.parametrize(("editor", "key"), NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1.0", "true", '"x"'])
def test_numbers_are_finite_and_not_negative(editor: str, key: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^--pitfalls-set {editor}\.{key}: bad value"):
        resolved(editor, **{key: text})


@pytest.mark.parametrize("editor", [editor for editor, kind in KINDS.items() if len(kind.model_fields) > 1])
def test_a_misspelt_key_is_recognised(editor: str) -> None:
    key = next(name for name in KINDS[editor].model_fields if name not in ("source", "k"))
    with pytest.raises(UsageError, match=f"unknown hyper-parameter '{key}x'\n  fix: did you mean '{key}'"):
        resolved(editor, **{f"{key}x": "1"})


@pytest.mark.parametrize("editor", [editor for editor, kind in KINDS.items() if "layers" in kind.model_fields])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30", "the model has the layers 0 to 29"),
        ("[-1]", "the model has the layers 0 to 29"),
        ("true", "a layer is a number"),
        ("[true]", "a layer is a number"),
        ('"eight"', "bad value 'eight'"),
        ("[1.5]", "bad value"),
    ],
)
def test_layers_exist(editor: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^--pitfalls-set {editor}\.layers: ") as caught:
        resolved(editor, layers=text)
    assert message in str(caught.value)


@pytest.mark.parametrize("layers", ["[4, 4]", "[5, 4]"])
def test_layers_are_named_once_and_ascend(layers: str) -> None:
    with pytest.raises(UsageError, match="once each, in ascending order"):
        resolved("memit", layers=layers)


@pytest.mark.parametrize("editor", ["ft-l", "ft-m"])
@pytest.mark.parametrize("text", ["0", "1", "true", '"1"'])
def test_an_integer_norm_constraint_is_refused(editor: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"silently switches the constraint off for an integer"):
        resolved(editor, norm_constraint=text)
    assert resolved(editor, norm_constraint="1.0").norm_constraint == 1.0


def test_false_means_no_norm_constraint_where_there_need_be_none() -> None:
    assert resolved("ft", norm_constraint="false").norm_constraint is None
    assert resolved("ft-m", norm_constraint="false").norm_constraint is None
    with pytest.raises(UsageError, match="integer"):
        resolved("ft-l", norm_constraint="false")
    for text in ("0", "5e-4", "true"):
        with pytest.raises(UsageError, match="use the editor ft-l"):
            resolved("ft", norm_constraint=text)


@pytest.mark.parametrize(
    ("editor", "key", "text", "message"),
    [
        ("ft", "kl_factor", "0.1", "only 0 is supported"),
        ("ft", "objective", "target_new", "'prompt_last'"),
        ("lora", "lora_type", "dora", "'lora' or 'adalora'"),
        ("lora", "lora_dropout", "1.0", "below 1"),
        ("lora", "target_modules", '[""]', "name is empty"),
        ("memit", "mom2_adjustment", "false", "has to be True"),
        ("memit", "layer_selection", "random", "'all'"),
        ("emmet", "layers", "[4, 5]", "at most 1 item"),
        ("encore", "norm_control", "1", "has to be 0"),
        ("memit", "prob_cutoff", "1", "at most 0"),
        ("rome", "nas_norm", "0", "above 0"),
        ("sphere", "cumulative_ratio", "1", "below 1"),
        ("lyaplock", "alpha", "0", "above 0"),
        ("r-rome", "original_implementation", "true", "has to be False"),
        ("grace", "replacement", "replace_all", "'replace_last' or 'replace_prompt'"),
        ("grace", "inner_params", '["mlp.down_proj"]', "is not like"),
        ("wise", "mask_ratio", "1.5", "at most 1"),
        ("wise", "save_freq", "300", "multiple of save_freq, which is 300"),
        ("wise", "act_margin", "[1.0, 2.0]", "an item is missing"),
        ("mend", "weights", "no.safetensors", "there is no file no.safetensors"),
        ("rledit", "weights", "no.safetensors", "there is no file no.safetensors"),
        ("rledit", "layers", "[]", "it names no matrix, and layers names no block"),
        ("ike", "retriever", "minilm", "'mean_hidden_state'"),
        ("ike", "k", "0", "at least 1"),
    ],
)
def test_mistakes_are_told(editor: str, key: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(editor, **{key: text})
    assert message in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def test_r_rome_s_key_flags_are_one_choice() -> None:
    assert resolved("r-rome").enable_random_prefix_keys
    values = resolved("r-rome", enable_prompt_keys="true")
    assert (values.enable_prompt_keys, values.enable_random_prefix_keys) == (True, False)
    with pytest.raises(UsageError, match="exactly one of"):
        resolved("r-rome", enable_prompt_keys="true", enable_random_prefix_keys="true")


def test_inner_params_set_layer_and_module() -> None:
    values = resolved("grace", "gpt2-xl", 48, inner_params="transformer.h[3].mlp.c_proj.weight")
    assert (values.layers, values.module) == ((3,), "mlp.c_proj")
    assert values.module_path(family("gpt2")) == "transformer.h.3.mlp.c_proj"
    assert resolved("grace").module_path(family("llama")) == "model.layers.22.mlp.down_proj"
    values = resolved("mend", inner_params='["model.layers.5.mlp.up_proj.weight", "model.layers.4.mlp.up_proj.weight"]')
    assert values.layers == (4, 5)
    assert "only the blocks are used" in module_name_notes(values, family("llama"))[0]
    with pytest.raises(UsageError, match=r"the blocks of family 'gpt2' are 'transformer.h'"):
        module_name_notes(values, family("gpt2"))


def test_inner_params_that_contradict_are_refused() -> None:
    inner = "model.layers[3].mlp.down_proj.weight"
    with pytest.raises(UsageError, match=r"it names the blocks \[3\], but layers is \[4\]"):
        resolved("grace", inner_params=inner, layers="4")
    with pytest.raises(UsageError, match=r"inner_params names 'mlp.down_proj', another module"):
        resolved("grace", inner_params=inner, module="mlp.up_proj")
    with pytest.raises(UsageError, match="the model has the layers 0 to 29"):
        resolved("grace", inner_params="model.layers[99].mlp.down_proj.weight")


def test_pmet_s_module_names() -> None:
    names = {"rewrite_module_tmp": "model.layers.{}.self_attn.o_proj"}
    values = resolved("pmet", rewrite_module_tmps='["model.layers.{}.mlp.down_proj"]', **names)
    assert module_name_notes(values, family("llama"))[0].startswith("rewrite_module_tmp")
    with pytest.raises(UsageError, match=r"rewrite_module_tmps is 'model.layers"):
        module_name_notes(resolved("pmet", rewrite_module_tmps='["model.layers.{}.self_attn.o_proj"]'), family("llama"))


def test_the_trained_network_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"")
    values = resolve_hyperparameters(
        "mend", MendHyperparameters, "x/y", 4, {"weights": "net.safetensors"}, config_path=tmp_path / "c.toml"
    )
    assert values.weights == tmp_path / "net.safetensors"
    assert values.layers == (1, 2, 3)


class Mine(Hyperparameters):
    """Somebody else's hyper-parameters."""

    path_fields: ClassVar[tuple[str, ...]] = ("table",)

    strength: float
    """how strong"""
    table: Path | None = None


class Nothing(Hyperparameters):
    """An editor without hyper-parameters."""


def test_a_class_without_fields_works() -> None:
    assert resolve_hyperparameters("nothing", Nothing, "x/y", 4).source.startswith("no preset")
    with pytest.raises(UsageError, match=r"unknown hyper-parameter 'lr'\n  fix: known: none"):
        resolve_hyperparameters("nothing", Nothing, "x/y", 4, overrides={"lr": "1"})


def test_a_class_of_somebody_else() -> None:
    assert resolve_hyperparameters("mine", Mine, "x/y", 4, {"strength": 0.5}).strength == 0.5
    assert Mine.model_fields["strength"].description == "how strong"
    with pytest.raises(UsageError, match=r"'strength' is needed\n  fix: --pitfalls-set mine.strength=VALUE"):
        resolve_hyperparameters("mine", Mine, "x/y", 4)
    with pytest.raises(UsageError, match=r"mine.table: .* there is no file no.txt"):
        resolve_hyperparameters("mine", Mine, "x/y", 4, overrides={"strength": "1", "table": "no.txt"})


def test_every_field_is_described() -> None:
    for editor, kind in [*KINDS.items(), *TRAININGS.items()]:
        for name, field in kind.model_fields.items():
            assert field.description, f"{editor}.{name}"


@pytest.mark.parametrize(
    ("file", "editor"),
    [("rome", "rome"), ("memit-2000", "memit"), ("memit-15000", "memit"), ("ft-l", "ft-l")],
)
def test_the_golden_configurations_are_accepted(file: str, editor: str) -> None:
    path = SHARED / "golden" / f"{file}.toml"
    if not path.is_file():
        pytest.skip("the golden configurations are not here (EDITPITFALLS_SHARED)")
    table = tomllib.loads(path.read_text("utf-8"))[editor]
    values = resolve_hyperparameters(editor, KINDS[editor], "smollm2-135m", 30, table, config_path=path)
    assert (
        values.model_dump(mode="json").items()
        >= {key: value for key, value in table.items() if key != "mom2_corpus"}.items()
    )


def test_the_page_is_generated_from_the_classes() -> None:
    page = hyperparameter_docs.PAGE.read_text("utf-8")
    assert page == hyperparameter_docs.written(page), "run python -m tests.models.hyperparameter_docs"


def test_nothing_here_imports_torch() -> None:
    code = (
        "import sys; from pytest_editpitfalls.engine.editors.shipped import shipped_editors;"
        "from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters as r;"
        "[r(e.name, e.hyperparameter_class(), 'gpt2-xl', 48) for e in shipped_editors()];"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classes_share_what_the_solver_reads() -> None:
    """PMET, EMMET and AlphaEdit have MEMIT's fields; GRACE and WISE one module."""
    assert all(issubclass(KINDS[name], LayerByLayerHyperparameters) for name in ("memit", "emmet", "pmet", "alphaedit"))
    assert KINDS["grace"] is GraceHyperparameters
