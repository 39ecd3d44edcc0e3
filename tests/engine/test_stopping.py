"""Jobs that stop: the CPU learns of it at once or a step late, and the results are the same."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.locate_then_edit import target_vector
from pytest_editpitfalls.engine.settings import Progress
from pytest_editpitfalls.engine.stopping import Stopping
from pytest_editpitfalls.program import EditRequest
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import REQUESTS, close, make, matrices

CPU = torch.device("cpu")
JOBS = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
SOON = EditJob("soon", 1, (EditRequest("Hello {}", "the king", "Japan"),))
"""Its subject's last token predicts the target itself: PMET without a KL term ends it after a few steps."""


def answers(steps: Sequence[set[int]], jobs: int, late: bool) -> list[list[bool] | None]:
    stopping, heard = Stopping(jobs, CPU, late=late), []
    for stopped in steps:
        stopping.stop(torch.tensor([job in stopped for job in range(jobs)]))
        still_going = stopping.poll()
        heard.append(None if still_going is None else still_going.tolist())
    return heard


@given(st.lists(st.sets(st.integers(0, 4)), max_size=8))
def test_late_answers_are_the_prompt_ones_a_step_later(steps: list[set[int]]) -> None:
    prompt = answers(steps, 5, late=False)
    assert answers([*steps, set()], 5, late=True) == [None, *prompt]
    gone: set[int] = set()
    for stopped, heard in zip(steps, prompt, strict=True):
        changed, gone = bool(stopped - gone), gone | stopped
        assert heard == ([job not in gone for job in range(5)] if changed else None)


def test_what_is_learnt_does_not_depend_on_when_it_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, rows = [], []
    drop = target_vector.UpperBlocks.drop_stopped

    def dropped(self: Any, active: torch.Tensor) -> None:
        drop(self, active)
        rows.append(sum(len(group.job) for group in self.groups))

    monkeypatch.setattr(target_vector.UpperBlocks, "drop_stopped", dropped)
    for late in (False, True):
        monkeypatch.setattr(target_vector, "Stopping", partial(Stopping, late=late))
        steps: list[Progress] = []
        results = make("pmet", make_forward("llama"), tmp_path, v_num_grad_steps=16, kl_factor=0.0).edit(
            [SOON, *JOBS], steps.append
        )
        found.append([matrices(result) for result in results])
        last = max(step.done for step in steps if step.stage == "edit")
        rows.append(last)
    *first, steps_at_once = rows[: len(rows) // 2]
    *second, steps_late = rows[len(rows) // 2 :]
    assert first == second
    assert first, "nothing stopped before the end: the test is about nothing"
    assert steps_late == steps_at_once == 15
    for prompt, late_one in zip(*found, strict=True):
        assert close(late_one, prompt, 1e-9)


class _Waits(TorchDispatchMode):
    """What would make the host wait for a GPU, in the lines of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put_") and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        )
        if by_mask or name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"):
            frames = [f for f in traceback.extract_stack()[:-1] if "torch/utils" not in f.filename]
            if not any("torch/optim" in f.filename for f in frames):  # Adam counts its steps on the host
                near = next(f for f in reversed(frames) if "/torch/" not in f.filename)
                self.lines.append(f"{near.filename}:{near.lineno}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["r-rome", "pmet"])
def test_a_step_of_the_search_waits_for_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what transformers asks about its mask, once a pass, and for what this process holds itself."""
    monkeypatch.setattr(target_vector, "Stopping", partial(Stopping, late=True))
    run, counts = target_vector.TargetVectorSearch.run, []

    def watched(self: Any, on_step: Any) -> Any:
        with _Waits() as waits:
            found = run(self, on_step)
        counts.append(waits.lines)
        return found

    monkeypatch.setattr(target_vector.TargetVectorSearch, "run", watched)
    for steps in (4, 9):
        make(name, make_forward("llama"), tmp_path, v_num_grad_steps=steps, v_lr=1e-3).edit(JOBS)
    own = ["pytest_editpitfalls/engine/stopping.py", "transformers/"]
    few, many = ([line for line in lines if not any(part in line for part in own)] for lines in counts)
    assert many == few, "a longer search waits more often"
    assert any("transformers/" in line for line in counts[0]), "the watch sees nothing"
