"""Which stored run a replay takes, by the headers alone; and what it says where none or several fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from store_samples import HEADER, filled, header, settings

from pytest_editpitfalls.engine.editors.rome.hyperparameters import RomeHyperparameters
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import ModelName, RunHeader, keyed_hyperparameters
from pytest_editpitfalls.store.replay import choose

TINY = {"models/tiny": "tiny"}


def stored(path: Path, *headers: RunHeader) -> Store:
    return filled(path / "store", cases=1, headers=headers)


def chosen(store: Store, **typed: Any) -> RunHeader:
    found = choose(store, **{"editors": ["rome"], "models": TINY} | typed)
    assert list(found) == [("rome", "tiny")]
    return found["rome", "tiny"]


def refused(store: Store, **typed: Any) -> str:
    with pytest.raises(UsageError) as caught:
        choose(store, **{"editors": ["rome"], "models": TINY} | typed)
    return str(caught.value)


def test_the_only_run_needs_nothing_typed(tmp_path: Path) -> None:
    store = stored(tmp_path, header(seed=3, dtype="bfloat16"), header(editor="memit"))
    assert chosen(store).seed == 3
    assert chosen(store, seed=3, dtype="bfloat16").key == header(seed=3, dtype="bfloat16").key


def test_every_editor_on_every_model(tmp_path: Path) -> None:
    other = (ModelName(label="other", source="hub/other"),)
    headers = [
        header(editor=editor, fingerprint=mark * 64, models=models)
        for editor in ("rome", "memit", "memit+mle")
        for mark, models in (("1", HEADER.models), ("2", other))
    ]
    store = stored(tmp_path, *headers)
    found = choose(store, editors=["memit+mle", "rome"], models={**TINY, "hub/other": "other"})
    assert {pair: each.key for pair, each in found.items()} == {
        (each.editor, each.models[0].label): each.key for each in headers if each.editor != "memit"
    }


def test_a_model_by_how_it_was_typed_then_by_its_label(tmp_path: Path) -> None:
    first = header(fingerprint="1" * 64, models=(ModelName(label="tiny", source="a/tiny"),))
    second = header(fingerprint="2" * 64, models=(ModelName(label="tiny", source="b/tiny"),))
    store = stored(tmp_path, first, second)
    assert chosen(store, models={"b/tiny": "tiny"}).key == second.key
    text = refused(store, models={"/scratch/tiny": "tiny"})
    assert "2 stored runs of rome on tiny fit; they differ in:" in text
    assert "fingerprint 111111111111\n" in text
    assert "fingerprint 222222222222\n" in text
    only = stored(tmp_path / "only", first)
    found = chosen(only, models={"/scratch/tiny": "tiny"})
    assert found.key == first.key
    assert found.description["model"] == {"name": "/scratch/tiny", "label": "tiny"}


def test_several_runs_are_told_apart_by_what_is_typed(tmp_path: Path) -> None:
    values = HEADER.hyperparameters
    runs = {
        "base": HEADER,
        "seed": header(seed=1),
        "dtype": header(dtype="bfloat16"),
        "lr": header(hyperparameters=values | {"v_lr": 0.25}),
        "layer": header(hyperparameters=values | {"layers": [9]}),
    }
    store = stored(tmp_path, *runs.values())
    text = refused(store)
    assert "5 stored runs" in text
    assert "\\n" not in text
    assert len(text.splitlines()) == 7  # what it is, the runs, what to do
    assert "--pitfalls-replay-run=" in text
    assert "editpitfalls store prune" in text
    for line in (
        "seed 0, dtype float32, layers [8], v_lr 0.25",
        "seed 1, dtype float32, layers [8], v_lr 0.5",
    ):
        names = line.split(", ")
        assert any(all(name in row for name in names) for row in text.splitlines()), line
    assert "fingerprint" not in text  # the same in all
    assert chosen(store, seed=1).key == runs["seed"].key
    assert chosen(store, dtype="bfloat16").key == runs["dtype"].key
    assert chosen(store, overrides={"rome": {"v_lr": "0.25"}}).key == runs["lr"].key
    assert chosen(store, overrides={"rome": {"v_lr": "2.5e-1"}}).key == runs["lr"].key
    assert chosen(store, overrides={"rome": {"layers": "9"}}).key == runs["layer"].key
    assert chosen(store, overrides={"rome": {"layers": "[9]"}}).key == runs["layer"].key
    assert chosen(store, config_tables={"rome": {"layers": [9]}}).key == runs["layer"].key
    tables = {"rome": {"layers": [9], "v_lr": 7}}
    assert chosen(store, config_tables=tables, overrides={"rome": {"v_lr": "0.5"}}).key == runs["layer"].key
    assert chosen(store, seed=0, dtype="float32", overrides={"rome": {"v_lr": "0.5", "layers": "8"}}) == HEADER
    assert "4 stored runs" in refused(store, overrides={"rome": {"v_lr": "0.5"}})
    assert "no stored run of rome on tiny fits what was typed" in refused(store, seed=9)
    assert "no stored run of rome on tiny fits what was typed" in refused(
        store, overrides={"rome": {"layers": "[8, 9]"}}
    )
    assert "did you mean 'v_lr'?" in refused(store, overrides={"rome": {"v_lrr": "1"}})


@pytest.mark.parametrize(
    ("stored_value", "fits", "does_not"),
    [
        (None, ["false"], ["true", "0", "x"]),
        (True, ["true"], ["false", "1"]),
        (False, ["false"], ["true", "0"]),
        (1, ["1", "1.0"], ["2", "true", "one"]),
        ("text", ["text", '"text"'], ["other", "1"]),
        ("1", ["1", '"1"'], ["2"]),
        ([[5, 10]], ["[[5, 10]]"], ["[[5, 11]]", "[5, 10]", "5"]),
        ([], ["[]"], ["[1]", "0"]),
        ({"a": 1}, ["{a = 1}"], ["{a = 2}", "{b = 1}", "a"]),
    ],
)
def test_typed_values_and_stored_ones(
    tmp_path: Path, stored_value: Any, fits: Sequence[str], does_not: Sequence[str]
) -> None:
    store = stored(tmp_path, header(hyperparameters={"key": stored_value}))
    for text in fits:
        assert chosen(store, overrides={"rome": {"key": text}}).hyperparameters == {"key": stored_value}, text
    for text in does_not:
        assert "fits what was typed" in refused(store, overrides={"rome": {"key": text}}), text


def test_a_file_is_the_stored_one_by_its_content(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one\n")
    values = RomeHyperparameters.model_validate(RomeHyperparameters.scaled(30) | {"mom2_corpus": corpus})
    store = stored(tmp_path, header(hyperparameters=keyed_hyperparameters(values)))
    copy = tmp_path / "copy.txt"
    copy.write_text("one\n")
    chosen(store, overrides={"rome": {"mom2_corpus": str(copy)}})
    chosen(store, config_tables={"rome": {"mom2_corpus": "copy.txt"}}, config_path=tmp_path / "editors.toml")
    copy.write_text("two\n")
    assert "fits what was typed" in refused(store, overrides={"rome": {"mom2_corpus": str(copy)}})
    assert "fits what was typed" in refused(store, overrides={"rome": {"mom2_corpus": "absent.txt"}})


def test_the_first_digits_of_a_key(tmp_path: Path) -> None:
    store = stored(tmp_path, HEADER, header(seed=1), header(editor="memit"))
    key = header(seed=1).key
    assert chosen(store, prefixes=[key[:12]]).key == key
    assert chosen(store, prefixes=[key]).key == key
    assert chosen(store, prefixes=[key[:12].upper(), header(editor="memit").key]).key == key
    both = choose(store, editors=["rome", "memit"], models=TINY, prefixes=[key[:12]])
    assert both["memit", "tiny"].key == header(editor="memit").key
    assert "no stored run begins with 'xyz'" in refused(store, prefixes=["xyz"])
    assert "no stored run begins with ''" in refused(store, prefixes=[""])
    assert "2 stored runs of rome" in refused(store, prefixes=[header(editor="memit").key])
    assert "fits what was typed" in refused(store, prefixes=[key], seed=5)


def test_digits_that_several_keys_begin_with(tmp_path: Path) -> None:
    headers = [header(seed=seed) for seed in range(17)]  # two of them share their first digit
    firsts = [each.key[0] for each in headers]
    shared = next(digit for digit in firsts if firsts.count(digit) > 1)
    text = refused(stored(tmp_path, *headers), prefixes=[shared])
    assert f"{firsts.count(shared)} stored runs begin with '{shared}'" in text
    assert "type more digits" in text


def test_what_a_store_without_it_holds(tmp_path: Path) -> None:
    assert "holds no run at all" in refused(Store.open(tmp_path / "empty"))
    store = stored(tmp_path, HEADER, header(seed=1))
    text = refused(store, editors=["memit"])
    assert "no stored run of memit on tiny is of this editor and model" in text
    for each in (HEADER, header(seed=1)):
        assert f"  {each.key[:12]}  " in text
    assert "rome on tiny, seed 1, float32" in text
    assert "is of this editor and model" in refused(store, models={"gpt2-xl": "gpt2-xl"})


def test_labels_do_not_reach_the_terminal_as_such(tmp_path: Path) -> None:
    evil = (ModelName(label="\x1b[31mred\nfix: rm", source="x"),)
    store = stored(tmp_path, header(models=evil))
    text = refused(store)
    assert "\x1b" not in text
    assert "\\x1b[31mred\\nfix: rm" in text


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    store = stored(tmp_path, HEADER)
    code = (
        "import sys; from pathlib import Path; from pytest_editpitfalls.store.directory import Store\n"
        "from pytest_editpitfalls.store.replay import choose\n"
        "from pytest_editpitfalls.store import identity, maintenance, sources, stored_case\n"
        f"choose(Store.open(Path({str(store.path)!r})), editors=['rome'], models={TINY})\n"
        "identity.run_header('rome', identity.EngineSettings('m'), {'model': {'layers': 3, 'fingerprint': 'f', "
        "'dtype': 'float32'}, 'seed': 0, 'editor': {}, 'versions': {'torch': '1', 'transformers': '2'}}, "
        "model_label='m', run_id='r')\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not {"torch", "transformers", "numpy", "scipy", "pytest", "_pytest", "rich"} & loaded
    assert settings().model == "models/tiny"
