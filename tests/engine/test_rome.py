"""ROME batched, ROME one by one, and ROME the plain way on whole rows: the same, in every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.rome.editor import Rome
from pytest_editpitfalls.engine.editors.rome.hyperparameters import RomeHyperparameters
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.locate_then_edit.core import Batch, moment_source
from pytest_editpitfalls.engine.locate_then_edit.edit_rows import edit_rows
from pytest_editpitfalls.engine.locate_then_edit.rank_one import _notes
from pytest_editpitfalls.engine.locate_then_edit.target_vector import TargetVectors
from pytest_editpitfalls.engine.moments import SecondMoment, SecondMoments
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.engine.upper_blocks import Captured
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward, tolerance

TEMPLATES = ["{}", "The truth is that {}", "The king of Spain. {}"]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
    EditRequest("{}", "Rome", "the capital of Spain"),
]
STEPS = {"v_num_grad_steps": "6", "v_lr": "0.3"}


def make_rome(forward: Forward, tmp_path: Path, **overrides: str) -> Rome:
    table: dict[str, Any] = {"layers": [1], "context_templates": TEMPLATES, "mom2_tokens": 2000}
    hp = resolve_hyperparameters("rome", RomeHyperparameters, "tiny", forward.n_layers, table, {**STEPS, **overrides})
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    return Rome(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


def second_moment(rome: Rome) -> torch.Tensor:
    source = moment_source(rome._hp, 0)
    layer = rome._layers[0]
    moment = rome._resources.second_moments.get(source, [layer])[layer]
    return moment.matrix + moment.ridge * torch.eye(len(moment.matrix), dtype=torch.float64)


def plain(rome: Rome, request: EditRequest) -> torch.Tensor:
    hp, host = rome._hp, rome._host
    update, _ = naive.rome(
        host.model,
        host.tokenizer,
        host.down_projection(rome._layers[0]),
        request,
        TEMPLATES,
        second_moment(rome),
        steps=hp.v_num_grad_steps,
        lr=hp.v_lr,
        decay=hp.v_weight_decay,
        clamp=hp.clamp_norm_factor,
        kl_factor=hp.kl_factor,
    )
    return update


def matrix(result: Any) -> torch.Tensor:
    assert result.error is None, result.error
    return sum((delta.u @ delta.v.T for delta in result.model), torch.zeros(1, dtype=torch.float64))


def close(a: torch.Tensor, b: torch.Tensor, bound: float) -> bool:
    return float((a - b).norm() / b.norm()) < bound


def test_batched_equals_one_by_one_equals_the_plain_way(forward: Forward, tmp_path: Path) -> None:
    rome = make_rome(forward, tmp_path)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    batched = [matrix(result) for result in rome.edit(jobs)]
    # Adam divides by |gradient|: rounding of tiny gradient entries is magnified, hence the wider bound.
    bound = 1e-5 if tolerance(forward) < 1e-6 else 2e-2
    for job, together, request in zip(jobs, batched, REQUESTS, strict=True):
        alone = matrix(rome.edit([job])[0])
        assert close(together, alone, bound), request
        assert close(together, plain(rome, request), bound), request
        assert float(together.norm()) > 1e-3


def test_edit_two_is_computed_under_edit_one(forward: Forward, tmp_path: Path) -> None:
    rome = make_rome(forward, tmp_path)
    first = rome.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    second = EditRequest("The capital of {} is", "France", "Japan")
    results = rome.edit([EditJob("a", 2, (second,), first.model), EditJob("b", 1, (second,))])
    assert results[0].model[:1] == first.model
    results[0] = EditResult(results[0].model[1:])
    transposed = type(forward.host.down_projection(1)).__name__ == "Conv1D"
    path = forward.host.down_projection_path(1)
    with naive.in_place(forward.host.model, [(path, matrix(first))], transposed):
        under = plain(rome, second)
    bound = 1e-5 if tolerance(forward) < 1e-6 else 2e-2
    assert close(matrix(results[0]), under, bound)
    assert close(matrix(results[1]), plain(rome, second), bound)
    assert not close(matrix(results[0]), matrix(results[1]), bound)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_the_edit_makes_the_target_likelier(name: str, tmp_path: Path) -> None:
    forward = make_forward(name)
    rome = make_rome(forward, tmp_path, v_num_grad_steps="20", v_lr="0.5", kl_factor="0")
    request = REQUESTS[0]
    host, result = forward.host, rome.edit([EditJob("a", 1, (request,))])[0]
    before = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    transposed = type(host.down_projection(1)).__name__ == "Conv1D"
    with naive.in_place(host.model, [(host.down_projection_path(1), matrix(result))], transposed):
        after = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    assert after > before + 0.5


def test_a_stopped_case_leaves_the_others_alone(tmp_path: Path) -> None:
    """A case whose loss is under 0.05 at once must not move, whatever its neighbours do."""
    forward = make_forward("llama")
    rome = make_rome(forward, tmp_path, v_num_grad_steps="25", v_weight_decay="0", kl_factor="0")
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    together = [matrix(result) for result in rome.edit(jobs)]
    for job, value in zip(jobs, together, strict=True):
        assert close(value, matrix(rome.edit([job])[0]), 1e-5)


def test_one_bad_request_is_an_error_of_its_own(tmp_path: Path) -> None:
    rome = make_rome(make_forward("gpt2"), tmp_path)
    bad = EditRequest("The capital is", "France", "Rome")
    good, broken = rome.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 1, (bad,))])
    assert good.error is None
    assert "no {}" in (broken.error or "")
    assert "edit 1" in (broken.error or "")


def test_requests_written_together_are_written_one_after_another(tmp_path: Path) -> None:
    rome = make_rome(make_forward("gpt2"), tmp_path)
    both = rome.edit([EditJob("a", 1, (REQUESTS[0], REQUESTS[2]))])[0]
    first = rome.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    second = rome.edit([EditJob("a", 2, (REQUESTS[2],), first.model)])[0]
    assert close(matrix(both), matrix(second), 1e-5)  # both edits are in the second model


def test_tiny_divisors_are_noted(tmp_path: Path) -> None:
    """A bare key that is almost orthogonal to the mean key makes the update explode; the case says so."""
    assert "tiny divisor at edit 2" in _notes(2, 0.01)[0]
    assert not _notes(2, 0.9)
    rome = make_rome(make_forward("gpt2"), tmp_path, v_num_grad_steps="2")
    rows = edit_rows(rome._host.encoder, 0, REQUESTS[0], ["{}", "So {}"])
    keys = torch.zeros(3, 128, dtype=torch.float64)
    bare, other = keys[0], keys[1]  # their mean is the first unit vector
    bare[0], bare[1], other[0], other[1] = 0.01, 1, 1.99, -1
    rome.prepare()
    rome._moments[1] = SecondMoment(torch.eye(128, dtype=torch.float64), 1, 0.0, {})
    value = torch.ones(1, 1, 32, dtype=torch.float64)
    batch = Batch([EditJob("a", 2, (REQUESTS[0],))], [EditResult()], [0], rows)
    (written,) = rome._write(
        batch, TargetVectors(value, value, (Captured(keys, torch.ones(3, 32, dtype=torch.float64)),))
    )
    assert "u.k_bare is 0.01 of u.k_mean" in written.notes[0]
    assert written.deltas[0].u.norm() == pytest.approx(100 * value.norm())
