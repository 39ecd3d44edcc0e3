"""One model under several seeds: what an editor declares that it draws is what a seed changes."""

from __future__ import annotations

import pytest

from pytest_editpitfalls.engine.editing.declaration import NOTHING
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.program import ProbeScore, SuitePrograms
from tests.store.store_samples import CASE
from tests.tiny_models import save_tiny

SAMPLED = {"v_num_grad_steps": "3", "context_template_length_params": "[[4, 2]]", "mom2_tokens": "1400"}
QUICK = {
    **{editor.name: SAMPLED for editor in shipped_editors() if editor.second_moment},
    "anyedit": {"v_num_grad_steps": "3", "mom2_tokens": "1400"},
    "simie": {"hparams": "{v_num_grad_steps = 3, context_template_length_params = [[4, 2]], mom2_tokens = 1400}"},
    "lora": {"num_steps": "2"},
    "ft": {"num_steps": "2"},
    "ft-l": {"num_steps": "2"},
    "ft-m": {"num_steps": "2"},
    "wise": {"n_iter": "2"},
    "grace": {"n_iter": "2"},
}
PROGRAM = compile_case(CASE)
SUITE = SuitePrograms("reverse", lambda: [PROGRAM])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> EngineSession:
    home = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(home / "cache"))
        model = save_tiny(home / "tiny", "gpt2")
        return EngineSession.open(EngineSettings(str(model), device="cpu", dtype="float32", overrides=QUICK))


def answers(session: EngineSession, editor: str) -> tuple[ProbeScore, ...]:
    (scores,) = session.run(editor, [PROGRAM], suite=SUITE)
    assert scores.error is None, scores.error
    return scores.probes


# MEND and RLEdit need a trained network; they do nothing but apply it
@pytest.mark.parametrize("name", [each.name for each in shipped_editors() if not each.training])
def test_a_seed_changes_what_an_editor_says_that_it_draws(session: EngineSession, name: str) -> None:
    first, second = (answers(session.under_seed(seed), name) for seed in (1, 2))

    assert (first == second) == (EDITORS.get(name).draws == NOTHING)


def test_a_seed_gives_what_a_run_under_it_gives(session: EngineSession) -> None:
    under_one = session.under_seed(1)
    drawn = answers(under_one, "rome")
    own = answers(session, "rome")

    assert drawn == answers(session.under_seed(1), "rome")  # prepared again
    assert own == answers(session.under_seed(0), "rome")
    assert own == answers(session, "rome")  # another seed has changed nothing here
    assert own != drawn
    assert (under_one.describe("rome")["seed"], session.describe("rome")["seed"]) == (1, 0)
    assert under_one.host is session.host
    assert {"prepare rome", "prepare rome, seed 1"} <= session.seconds.keys()


def test_an_open_edited_model_is_seen_under_every_seed(session: EngineSession) -> None:
    other = session.under_seed(1)
    with session.edited("ft-l", PROGRAM, "12", SUITE), pytest.raises(CaseError, match="still open"):
        other.run("ft-l", [PROGRAM], suite=SUITE)
    with other.edited("ft-l", PROGRAM, "12", SUITE), pytest.raises(CaseError, match="still open"):
        session.run("ft-l", [PROGRAM], suite=SUITE)
    answers(session, "ft-l")
