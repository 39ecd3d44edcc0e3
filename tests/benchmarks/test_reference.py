"""The reference computes what the engine computes, in place, and leaves the model as it was."""

from __future__ import annotations

from math import log

import pytest
import torch
from benchmark_samples import FIRST, SECOND, THIRD, make_program
from benchmarks.answers import differences
from benchmarks.reference.runner import EDITORS, ReferenceRunner

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.program import EditRequest


@pytest.mark.parametrize("editor", sorted(EDITORS))
def test_probabilities_of_all_states_agree_with_the_engine(tiny_session: EngineSession, editor: str) -> None:
    program = make_program()
    ours = tiny_session.run(editor, [program])[0]
    reference = ReferenceRunner(tiny_session, editor).run(program)
    assert ours.error is None
    assert [(probe.fact, probe.state) for probe in reference.probes] == [(p.fact, p.state) for p in program.probes]
    assert differences([reference], [ours])["max"] < 1e-7
    # The edits are not so small that anything would agree.
    by_state = {(probe.fact, probe.state): probe.probabilities[0] for probe in reference.probes}
    assert abs(log(by_state["old", "1"] / by_state["old", "0"])) > 0.01


def test_memit_writes_the_requests_of_a_step_together(tiny_session: EngineSession) -> None:
    program = make_program(steps=((FIRST, THIRD), (SECOND,)))
    ours = tiny_session.run("memit", [program])[0]
    reference = ReferenceRunner(tiny_session, "memit").run(program)
    assert differences([reference], [ours])["max"] < 1e-7


@pytest.mark.parametrize("editor", sorted(EDITORS))
def test_weights_are_put_back_bit_for_bit(tiny_session: EngineSession, editor: str) -> None:
    way = ReferenceRunner(tiny_session, editor)
    before = {name: tensor.clone() for name, tensor in tiny_session.model.state_dict().items()}
    way.run(make_program())
    broken = make_program(steps=((FIRST,), (EditRequest("no subject here", "France", "Rome"),)))
    with pytest.raises(ValueError, match="substring"):
        way.run(broken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_session.model.state_dict().items())
