"""Headers made from what the real engine says: every editor that ships, before and after it has run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store_samples import CASE
from tests.tiny_models import save_tiny

from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.program import SuitePrograms
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import case_key, run_header
from pytest_editpitfalls.store.stored_case import StoredCase

QUICK = {
    "v_num_grad_steps": "3",
    "context_template_length_params": "[[4, 2]]",
    "mom2_tokens": "1400",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> EngineSession:
    home = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(home / "cache"))
        model = save_tiny(home / "tiny", "gpt2")
        overrides = {"rome": QUICK, "memit": QUICK}
        return EngineSession.open(EngineSettings(str(model), device="cpu", dtype="float32", overrides=overrides))


@pytest.mark.parametrize("name", [each.name for each in shipped_editors() if not each.training])
def test_the_header_of_a_shipped_editor(session: EngineSession, name: str) -> None:
    told = session.describe(name)
    header = run_header(name, session.settings, told, model_label="tiny", run_id="x")
    assert header.once is None
    assert header.fingerprint == session.fingerprint
    said = json.loads(json.dumps(told["editor"].get("hyperparameters", {})))
    said.pop("source", None)
    assert header.hyperparameters == said  # resolved here as the engine resolves them
    assert header.description == json.loads(json.dumps(told))


@pytest.mark.parametrize("name", ["rome", "memit", "ike", "grace"])
def test_a_case_of_the_real_engine(session: EngineSession, tmp_path: Path, name: str) -> None:
    program = compile_case(CASE)
    suite = SuitePrograms("reverse", lambda: [program])
    header = run_header(name, session.settings, session.describe(name), model_label="tiny", run_id="x")
    store = Store.open(tmp_path / "store")
    assert store.put_header(header)
    (scores,) = session.run(name, [program], suite=suite)
    told = session.describe(name)
    assert run_header(name, session.settings, told, model_label="tiny", run_id="x").key == header.key
    assert store.put_header(header.with_description(told), prepared=True)
    key = case_key(header, CASE, program, suite)
    assert store.put(StoredCase.of(key, header, CASE, program, scores, model="tiny"))
    again = Store.open(store.path, create=False)
    found = again.get(key)
    assert found is not None
    assert found.scores() == scores
    assert scores.probes or scores.error
    (kept,) = again.headers()
    assert kept.description == json.loads(json.dumps(told))
    if name == "rome":
        editor = kept.description["editor"]
        assert isinstance(editor, dict)
        assert editor["second_moment"] is not None  # known after the first batch only
