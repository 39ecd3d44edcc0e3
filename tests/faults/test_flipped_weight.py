"""One bit of one base weight is flipped behind the engine's back, after an in-place edit has been taken back."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny
from torch import Tensor

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.in_place.structure import Structure
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, Progress
from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, State

torch.set_num_threads(1)

STATES = (State("0", ()), State("1", (0,)), State("12", (0, 1)))
EDITED, FLIPPED = "model.layers.2.mlp.down_proj.weight", "model.layers.1.mlp.up_proj.weight"


def program(case_id: str) -> Program:
    steps = (
        (EditRequest("The capital of {} is", "France", "Rome"),),
        (EditRequest("{} speaks", "Danielle Darrieux", "Russian"),),
    )
    probes = tuple(Probe("fact", state.name, ("The capital of France is",), "Rome") for state in STATES)
    return Program(case_id, steps, STATES, probes)


def flip(weight: Tensor) -> None:
    """Flip the lowest bit of the exponent of one number, through ``.data``: torch counts no new version."""
    version = weight._version
    weight.data.view(torch.int32)[3, 5] ^= 1 << 23
    assert weight._version == version


class Saboteur:
    """An in-place editor that keeps hold of a base weight of case "bad"; what it does with it, the test says."""

    def __init__(self) -> None:
        self.weight: Any = None
        self.data: Any = None
        self.view: Any = None
        self.threads: list[threading.Thread] = []
        self.in_thread = False
        self.with_view = False

    def __call__(self, model: Any, _tokenizer: Any, requests: Any) -> None:
        with torch.no_grad():
            model.get_parameter(EDITED).mul_(1.2 if requests[0]["subject"] == "France" else 0.7)
        if requests[0]["case_id"] == "bad":
            self.weight = model.get_parameter(FLIPPED)
            self.data = self.weight.data
            if self.with_view:
                self.view = self.weight.detach().numpy()
            if self.in_thread and requests[0]["subject"] != "France":  # the case's last edit
                self.threads.append(threading.Thread(target=self._later))
                self.threads[-1].start()

    def _later(self) -> None:
        while self.weight.requires_grad:  # until the edit has been taken back
            time.sleep(0.001)
        flip(self.weight)


@pytest.fixture
def saboteur() -> Iterator[Saboteur]:
    made = Saboteur()
    EDITORS.add("mine", made, origin="a test")
    yield made
    EDITORS.forget_added()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSession:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    return EngineSession.open(EngineSettings(str(save_tiny(tmp_path / "tiny", "llama")), device="cpu"))


def digest(session: EngineSession) -> str:
    return hashlib.sha256(
        b"".join(t.contiguous().numpy().tobytes() for t in session.model.state_dict().values())
    ).hexdigest()


def values(answer: CaseScores) -> list[tuple[float, ...]]:
    assert answer.error is None
    return [probe.probabilities for probe in answer.probes]


def run(session: EngineSession, case_id: str, before_scoring: Any = lambda: None) -> CaseScores:
    def hear(progress: Progress) -> None:
        if progress.stage == "score" and progress.done == 0:
            before_scoring()

    (answer,) = session.run("mine", [program(case_id)], hear)
    return answer


def test_a_flip_that_nobody_found_would_change_the_scores(saboteur: Saboteur, session: EngineSession) -> None:
    (probe, *_) = run(session, "good").probes
    flip(session.model.get_parameter(FLIPPED))
    prompt = session.host.encoder.prompt("The capital of France is")
    target = session.host.encoder.target("Rome")
    with torch.no_grad():
        logits = session.model(input_ids=torch.tensor([[*prompt, *target]])).logits[0]
    found = logits[len(prompt) - 1 : -1].log_softmax(1).gather(1, torch.tensor(target)[:, None]).mean().exp()
    assert float(found) != pytest.approx(probe.probabilities[0], rel=1e-5)


@pytest.mark.parametrize("way", ["thread", "parameter", "replaced"])
def test_the_case_is_an_error_that_names_the_weight(way: str, saboteur: Saboteur, session: EngineSession) -> None:
    before, expected = digest(session), values(run(session, "good"))

    def sabotage() -> None:
        if way == "thread":
            saboteur.threads[0].join(30)
        elif way == "parameter":
            flip(saboteur.weight)
        else:
            new = torch.nn.Parameter(saboteur.weight.detach().clone())
            flip(new)
            session.model.model.layers[1].mlp.up_proj.weight = new
        assert digest(session) != before

    saboteur.in_thread = way == "thread"
    bad = run(session, "bad", sabotage)
    assert bad.probes == ()
    assert (bad.error or "").startswith(f"editor 'mine': the base model's '{FLIPPED}' was written")
    assert digest(session) == before
    assert values(run(session, "fine")) == expected
    assert digest(session) == before


def test_with_others_in_its_batch_only_that_case_is_an_error(saboteur: Saboteur, session: EngineSession) -> None:
    before, expected = digest(session), values(run(session, "good"))

    def hear(progress: Progress) -> None:
        if progress.stage == "score" and progress.done == 0 and saboteur.weight is not None:
            flip(saboteur.weight)
            saboteur.weight = None  # once for each time that the case is edited

    answers = session.run("mine", [program(case) for case in ("one", "bad", "two")], hear)
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert values(answers[0]) == values(answers[2]) == expected
    assert digest(session) == before


@pytest.mark.parametrize("way", ["data", "data and view", "view"])
def test_what_the_editor_had_in_hands_is_no_longer_the_base_model(
    way: str, saboteur: Saboteur, session: EngineSession
) -> None:
    before, expected = digest(session), values(run(session, "good"))

    def sabotage() -> None:
        if way != "view":
            saboteur.data.view(torch.int32)[3, 5] ^= 1 << 23
        else:
            saboteur.view.view("int32")[3, 5] ^= 1 << 23

    saboteur.with_view = way != "data"
    assert values(run(session, "bad", sabotage)) == expected
    assert digest(session) == before
    assert values(run(session, "fine")) == expected


def test_a_flip_between_two_cases_is_not_taken_for_the_next_case_s_edit(
    saboteur: Saboteur, session: EngineSession
) -> None:
    before, expected = digest(session), values(run(session, "good"))
    assert values(run(session, "bad")) == expected
    flip(saboteur.weight)
    with pytest.raises(CaseError, match=FLIPPED), session.edited("mine", program("next"), "1"):
        pass
    assert digest(session) == before
    with session.edited("mine", program("next"), "1") as model:
        assert not torch.equal(model.get_parameter(EDITED), saboteur.weight)
    flip(saboteur.weight)
    next_one = run(session, "next")
    assert FLIPPED in (next_one.error or "")
    assert values(run(session, "fine")) == expected
    assert digest(session) == before


def test_an_interrupt_while_the_model_is_put_back_accuses_nobody(
    saboteur: Saboteur, session: EngineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a timeout's signal does it, in the worst moment: nothing has been put back yet."""
    before, expected = digest(session), values(run(session, "good"))
    restore = Structure.restore

    def interrupted(self: Structure) -> None:
        monkeypatch.setattr(Structure, "restore", restore)
        raise KeyboardInterrupt

    monkeypatch.setattr(Structure, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(session, "stopped")
    assert digest(session) != before
    assert values(run(session, "next")) == expected
    assert digest(session) == before


def test_a_flip_past_torch_in_the_snapshot_itself_ends_the_run(saboteur: Saboteur, session: EngineSession) -> None:
    run(session, "good")

    def sabotage() -> None:
        address = torch._C._data_address(session.model.get_parameter(FLIPPED))
        byte = ctypes.c_ubyte.from_address(address + 7)
        byte.value ^= 1

    with pytest.raises(UsageError, match=f"'{FLIPPED}' could not be put back bit for bit"):
        run(session, "bad", sabotage)
