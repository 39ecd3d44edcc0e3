"""Hyper-parameter files that others publish: what is read, for which editor, and what is left out."""

from __future__ import annotations

import json

import pytest

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.hyperparameters.released import read_released
from pytest_editpitfalls.errors import UsageError

ROME = """\
alg_name: "ROME"
model_name: "./hugging_cache/some-model"
device: 0
layers: [2]
v_num_grad_steps: 25
v_lr: 5e-1
v_loss_layer: 3
v_weight_decay: 1e-3
clamp_norm_factor: 4
kl_factor: 0.0625
mom2_adjustment: false
context_template_length_params: [[5, 10], [10, 10]]
rewrite_module_tmp: "model.layers.{}.mlp.down_proj"
mom2_dataset: "wikipedia"
mom2_n_samples: 100000
stats_dir: ~
"""


def kind(editor):
    return EDITORS.get(editor).hyperparameter_class()


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_is_read_as_its_authors_meant_it(tmp_path):
    file = read_released(write(tmp_path, "llama-7b.yaml", ROME))
    assert file.algorithm == "rome"
    table, note = file.table("rome", kind("rome"))
    assert (table["v_lr"], table["v_weight_decay"]) == (0.5, 0.001)  # texts by YAML 1.1
    assert not {"mom2_dataset", "stats_dir"} & set(table)
    assert note == (
        "'rome' takes 10 values from llama-7b.yaml; not used: alg_name, model_name, device (not hyper-parameters of "
        "'rome'); mom2_dataset, mom2_n_samples (where second moments come from is our own default: "
        "docs/second-moments.md)"
    )
    values = resolve_hyperparameters("rome", kind("rome"), "x", 4, table, config_path=file.path)
    assert (values.layers, values.mom2_adjustment, values.v_num_grad_steps) == ((2,), False, 25)


def test_json_says_by_its_folder_what_it_is_for(tmp_path):
    text = json.dumps({"layers": [3], "v_lr": 0.5, "v_weight_decay": None})
    file = read_released(write(tmp_path, "R_ROME/gpt2-xl.json", text))
    assert file.editor(["r-rome", "memit"], EDITORS) == ("r-rome",)
    assert file.values == {"layers": [3], "v_lr": 0.5, "v_weight_decay": None}
    assert file.table("rome", kind("rome"))[0] == {"layers": [3], "v_lr": 0.5}
    alone = read_released(write(tmp_path, "gpt2-xl.json", text))
    assert alone.editor(["memit"], EDITORS) == ("memit",)
    with pytest.raises(UsageError, match="does not say which of 'rome', 'memit'"):
        alone.editor(["rome", "memit"], EDITORS)


def test_ft_s_file_names_the_loss_otherwise_and_is_for_all_three(tmp_path):
    text = "alg_name: FT\nlayers: [2]\nobjective_optimization: target_new\nnorm_constraint: false\n"
    file = read_released(write(tmp_path, "ft.yaml", text))
    assert file.editor(["ft", "rome", "ft-m"], EDITORS) == ("ft", "ft-m")
    table, note = file.table("ft-m", kind("ft-m"))
    assert table["objective"] == "target_new"
    assert note == "'ft-m' takes 3 values from ft.yaml; not used: alg_name (not hyper-parameters of 'ft-m')"


def test_a_file_for_another_editor_is_refused_unless_the_editor_is_the_user_s(tmp_path):
    file = read_released(write(tmp_path, "llama-7b.yaml", ROME))
    with pytest.raises(UsageError, match=r"for 'rome', and this run has 'memit'\n  fix: add --editor=rome"):
        file.editor(["memit"], EDITORS)
    assert file.editor(["their_rome"], EDITORS) == ("their_rome",)


def test_a_wrong_value_names_file_and_key(tmp_path):
    path = write(tmp_path, "llama-7b.yaml", ROME.replace("layers: [2]", "layers: [5]"))
    table, _ = read_released(path).table("rome", kind("rome"))
    with pytest.raises(UsageError, match=r"llama-7b.yaml layers: bad value \[5\]: the model has the layers 0 to 3"):
        resolve_hyperparameters("rome", kind("rome"), "x", 4, table, config_path=path)
    constrained = write(tmp_path, "ft.yaml", "alg_name: FT\nlayers: [2]\nnorm_constraint: 5e-4\n")
    table, _ = read_released(constrained).table("ft", kind("ft"))
    with pytest.raises(UsageError, match=r"ft.yaml norm_constraint: bad value 0.0005: FT has no constraint"):
        resolve_hyperparameters("ft", kind("ft"), "x", 4, table, config_path=constrained)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "layers: [5\n", "a.yaml:2: not valid YAML"),
        ("a.yaml", "layers: [5]\nlr: 1\nlayers: [6]\n", "a.yaml:3: the key 'layers' stands in line 1 too"),
        ("a.yaml", "a: &x [1]\nb: *x\n", r"a.yaml:2: \*x is an alias"),
        ("a.yaml", "a: !!python/object/apply:os.system [ls]\n", "a.yaml:1: not valid YAML"),
        ("a.yaml", "- 1\n", "a.yaml: the file has no keys"),
        ("a.yaml", "", "a.yaml: the file has no keys"),
        ("a.yaml", "5: 6\n", "the key 5 is not a text"),
        ("a.yaml", "a: " + "[" * 5000 + "]" * 5000, "not valid YAML: nested too deeply"),
        ("a.yaml", "when: 2020-13-45\n", "a.yaml: not valid YAML: month must be"),
        ("a.json", '{"layers": [5}', "a.json: not valid JSON"),
        ("a.json", '{"lr": 1, "lr": 2}', "the field 'lr' stands twice"),
        ("a.json", "[" * 100_000, "not valid JSON: nested too deeply"),
        ("a.json", "[1]", "a.json: the file has no keys"),
    ],
)
def test_a_broken_file_is_one_message(tmp_path, name, text, message):
    with pytest.raises(UsageError, match=message):
        read_released(write(tmp_path, name, text))


def test_the_same_value_twice_loses_nothing(tmp_path):
    assert read_released(write(tmp_path, "a.yaml", "a: false\nb: 1\na: false\n")).values == {"a": False, "b": 1}


def test_a_file_without_any_of_the_keys_is_the_wrong_file(tmp_path):
    file = read_released(write(tmp_path, "a.yaml", "generation: {max: 5}\nalg_name: ROME\n"))
    with pytest.raises(UsageError, match="no key of the file is a hyper-parameter of 'rome'"):
        file.table("rome", kind("rome"))


def test_ultraedit_s_file_of_easyedit_names_the_matrices(tmp_path):
    matrices = ["model.layers.20.mlp.gate_proj", "model.layers.21.mlp.up_proj"]
    text = f'alg_name: "ULTRAEDIT"\ninner_params: {json.dumps(matrices)}\nlr: 1e-6\ntoken: mask\nhalf: true\n'
    path = write(tmp_path, "gemma.yaml", text)
    table, note = read_released(path).table("ultraedit", kind("ultraedit"))
    assert table == {"edit_modules": matrices, "lr": 1e-6}
    assert "token (only tokens that predict the answer count here)" in note
    assert resolve_hyperparameters("ultraedit", kind("ultraedit"), "x", 30, table).edit_modules == tuple(matrices)
