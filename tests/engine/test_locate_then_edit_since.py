"""ENCORE, NAS, SPHERE and LyapLock, and the options that they are of other editors: the plain way gives the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.chains.keeping import as_plain, from_plain
from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.editors.lyaplock import edit_queue
from pytest_editpitfalls.engine.editors.sphere.editor import principal_directions
from pytest_editpitfalls.engine.locate_then_edit import anchoring, known_keys
from pytest_editpitfalls.engine.locate_then_edit.known_keys import KnownKeys
from pytest_editpitfalls.engine.overlay import DenseDelta
from pytest_editpitfalls.engine.settings import Progress
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import REQUESTS, SINCE, close, make, matrices, objective
from tests.engine.plain_chain import PlainChain

QUICK: dict[str, dict[str, Any]] = {
    "nas": {"nas_norm": 6.0, "nas_limit": 10.0},
    "encore": {"update_norm_lambda": 0.5},
    "lyaplock": {"alpha": 0.4},  # small: the queue grows in these few edits
}
SECOND = EditRequest("The capital of {} is", "France", "Japan")


def quick(name: str, family: str, tmp_path: Path, **table: Any) -> Any:
    wide = {"nullspace_threshold": 0.3} if family == "granite" and name in ("nas", "sphere") else {}
    return make(name, make_forward(family), tmp_path, **QUICK.get(name, {}), **wide, **table)


def chained(editor: Any, steps: Sequence[Sequence[EditRequest]]) -> list[EditResult]:
    results = [EditResult()]
    for number, requests in enumerate(steps, start=1):
        before = results[-1]
        results += editor.edit([EditJob("a", number, tuple(requests), before.model, before.state)])
        assert results[-1].error is None, results[-1].error
    return results[1:]


def of_step(results: Sequence[EditResult], step: int) -> list[tuple[str, torch.Tensor]]:
    """(module, matrix) of what a step wrote."""
    skip = len(results[step - 1].model) if step else 0
    return [
        (change.module, change.weight if isinstance(change, DenseDelta) else change.u @ change.v.T)
        for change in results[step].model[skip:]
    ]


@pytest.mark.parametrize("family", ["gpt2", "llama", "granite"])
@pytest.mark.parametrize("name", SINCE)
def test_batched_equals_one_by_one_equals_the_plain_way(name: str, family: str, tmp_path: Path) -> None:
    editor = quick(name, family, tmp_path)
    jobs = [EditJob("0", 1, (REQUESTS[1],)), EditJob("1", 1, (REQUESTS[2], REQUESTS[3]))]
    for job, result in zip(jobs, editor.edit(jobs), strict=True):
        together = matrices(result)
        assert close(together, matrices(editor.edit([job])[0]), 1e-5)
        assert close(together, PlainChain(editor).edit(job.requests), 1e-5)
        assert all(float(update.norm()) > 1e-3 for _, update in together)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
@pytest.mark.parametrize("name", SINCE)
def test_a_chain_is_the_plain_chain(name: str, family: str, tmp_path: Path) -> None:
    """Three edits, the second one of two facts: each sees the model, the keys and the queue that the last one left."""
    editor = quick(name, family, tmp_path)
    steps = [REQUESTS[:1], (REQUESTS[2], REQUESTS[3]), (SECOND,)]
    results, plain = chained(editor, steps), PlainChain(editor)
    for step, requests in enumerate(steps):
        assert close(of_step(results, step), plain.edit(requests), 1e-5), step
    alone = matrices(editor.edit([EditJob("b", 1, (SECOND,))])[0])
    assert not close(of_step(results, 2), alone, 1e-3)


@pytest.mark.parametrize("name", SINCE)
def test_chains_in_a_batch_are_independent(name: str, tmp_path: Path) -> None:
    """Cases at other steps of their chains, with other states, share a batch."""
    editor = quick(name, "llama", tmp_path)
    first, second = chained(editor, [REQUESTS[:1], REQUESTS[1:2]])
    jobs = [
        EditJob("a", 3, (SECOND,), second.model, second.state),
        EditJob("b", 2, (SECOND,), first.model, first.state),
        EditJob("c", 1, (SECOND,)),
    ]
    for job, together in zip(jobs, editor.edit(jobs), strict=True):
        (alone,) = editor.edit([job])
        skip = len(job.model)
        assert close(matrices(together, skip=skip), matrices(alone, skip=skip), 1e-5)


@pytest.mark.parametrize("name", SINCE)
def test_what_a_chain_keeps_goes_into_a_file(name: str, tmp_path: Path) -> None:
    editor = quick(name, "gpt2", tmp_path)
    (first,) = chained(editor, [REQUESTS[:1]])
    tensors: dict[str, torch.Tensor] = {}
    plain = json.loads(json.dumps(as_plain(first.state, tensors)))
    read = from_plain(plain, tensors)
    jobs = [EditJob("a", 2, (SECOND,), first.model, state) for state in (first.state, read)]
    kept, again = (editor.edit([job])[0] for job in jobs)
    assert close(matrices(kept), matrices(again), 1e-12)


@pytest.mark.parametrize("name", SINCE)
def test_the_edit_makes_the_target_likelier(name: str, tmp_path: Path) -> None:
    table: dict[str, Any] = {"v_num_grad_steps": 20, "v_lr": 0.5, "kl_factor": 0.0, "clamp_norm_factor": 4.0}
    if name in ("nas", "sphere"):
        table |= {"L2": 0.01, "nullspace_threshold": 0.3}
    else:
        table |= {"mom2_update_weight": 0.05}
    if name == "nas":
        table |= {"nas_norm": 6.0, "nas_limit": 9.0}
    if name == "encore":
        table |= {"update_norm_lambda": 0.01, "prob_cutoff": -20}
    editor = make(name, make_forward("llama"), tmp_path, **table)
    host, request = editor._host, REQUESTS[0]
    (result,) = editor.edit([EditJob("a", 1, (request,))])
    before = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    with naive.in_place(host.model, matrices(result), False):
        after = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
    assert after > before + 0.3


@pytest.mark.parametrize("name", SINCE)
def test_a_bad_request_is_an_error_of_its_own(name: str, tmp_path: Path) -> None:
    editor = quick(name, "gpt2", tmp_path, v_num_grad_steps=3)
    bad = EditRequest("The capital is", "France", "Rome")
    broken, good = editor.edit([EditJob("a", 1, (REQUESTS[0], bad)), EditJob("b", 1, (REQUESTS[1],))])
    assert "no {}" in (broken.error or "")
    assert close(matrices(good), matrices(editor.edit([EditJob("b", 1, (REQUESTS[1],))])[0]), 1e-6)


@pytest.mark.parametrize("name", SINCE)
def test_families_with_a_norm_after_the_mlp_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--editor={name}"):
        quick(name, "gemma3", tmp_path)


# --- ENCORE's parts as options of others --------------------------------------------------------------------------

SOON = EditRequest("Hello {}", "the king", "Japan")
"""The subject's last token predicts the target itself: with `FREE` the search finds it in a few steps."""

FREE: dict[str, Any] = {
    "layers": [2],
    "v_num_grad_steps": 20,
    "v_lr": 0.5,
    "v_weight_decay": 0.0,
    "kl_factor": 0.05,
    "clamp_norm_factor": 8.0,
}


@pytest.mark.parametrize("name", ["memit", "emmet"])
def test_the_system_may_hold_a_norm_and_earlier_keys(name: str, tmp_path: Path) -> None:
    editor = make(name, make_forward("gpt2"), tmp_path, update_norm_lambda=3.0, add_prev_edits=True)
    steps = [REQUESTS[:1], REQUESTS[2:4], (SECOND,)]
    results, plain = chained(editor, steps), PlainChain(editor)
    for step, requests in enumerate(steps):
        assert close(of_step(results, step), plain.edit(requests), 1e-5), step
    usual = chained(make(name, make_forward("gpt2"), tmp_path), steps)
    assert not close(of_step(usual, 2), of_step(results, 2), 1e-3)


def test_the_options_of_encore_make_memit_encore(tmp_path: Path) -> None:
    steps = [REQUESTS[:1], (SECOND,)]
    options = {"prob_cutoff": -2, "update_norm_lambda": 0.5, "add_prev_edits": True}
    memit = chained(make("memit", make_forward("llama"), tmp_path, **options), steps)
    encore = chained(quick("encore", "llama", tmp_path, prob_cutoff=-2), steps)
    for step in range(2):
        assert close(of_step(memit, step), of_step(encore, step), 1e-12)


@pytest.mark.parametrize("name", ["memit", "alphaedit", "pmet", "r-rome"])
def test_the_search_stops_once_the_target_is_the_likeliest(name: str, tmp_path: Path) -> None:
    steps: dict[int, list[Progress]] = {0: [], -1: [], -3: []}
    for cutoff, seen in steps.items():
        editor = make(name, make_forward("llama"), tmp_path, prob_cutoff=cutoff, **FREE)
        (result,) = editor.edit([EditJob("a", 1, (SOON,))], seen.append)
        assert result.error is None
    never, once, thrice = (max(each.done for each in seen if each.stage == "edit") for seen in steps.values())
    assert once + 2 == thrice < never
    # A neighbour that goes on changes nothing for the one that stops.
    (beside, _) = editor.edit([EditJob("a", 1, (SOON,)), EditJob("b", 1, (REQUESTS[1],))])
    assert close(matrices(beside), matrices(result), 1e-5)


def test_the_early_stop_is_the_plain_one(tmp_path: Path) -> None:
    """The bare prompt does not count; steps need not follow one another."""
    job, found = EditJob("a", 1, (SOON,)), []
    for cutoff in (-1, -2, 0):
        editor = quick("encore", "llama", tmp_path, prob_cutoff=cutoff, **FREE)
        found.append(matrices(editor.edit([job])[0]))
        assert close(found[-1], PlainChain(editor).edit(job.requests), 1e-5)
    assert not close(found[0], found[1], 1e-3)
    assert not close(found[1], found[2], 1e-3)


def test_many_keys_become_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [(EditRequest(f"The capital {n} of {{}} is", "France", "Rome"),) for n in range(5)]
    made = {}
    for few in (0, 1000):
        monkeypatch.setattr(known_keys, "FEW", few)
        made[few] = chained(quick("encore", "llama", tmp_path), steps)
    assert isinstance(made[0][-1].state[0], KnownKeys)
    for step in range(5):
        assert close(of_step(made[0], step), of_step(made[1000], step), 1e-7)


# --- NAS as an option of others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rome", "r-rome", "memit", "emmet", "pmet", "lyaplock"])
def test_value_vectors_get_the_norm(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """v_0 + delta is m long afterwards, in the direction that it had."""
    moved: list[Any] = []
    of = anchoring.Anchor.moved

    def watched(self: Any, vectors: Any, *rest: Any) -> Any:
        result = of(self, vectors, *rest)
        own, factor = self._own_values(vectors, *rest)
        moved.append((own, factor, vectors.delta[:, 0], result[0].delta[:, 0]))
        return result

    monkeypatch.setattr(anchoring.Anchor, "moved", watched)
    editor = make(name, make_forward("granite"), tmp_path, nas=True, nas_norm=0.7, nas_limit=100.0, layers=[1])
    (result,) = editor.edit([EditJob("a", 1, (REQUESTS[0],))])
    assert result.error is None
    ((own, factor, learnt, final),) = moved
    host = editor._host
    seen = naive.seen_at_subject(
        host.model, host.tokenizer, host.down_projection(1), REQUESTS[0].question, REQUESTS[0].subject
    )
    torch.testing.assert_close(own[0], seen["value"])
    assert factor == (1.0 if name in ("rome", "r-rome", "pmet") else host.family.mlp_factor)
    torch.testing.assert_close((own + final / factor).norm(), torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(
        torch.cosine_similarity(own + final / factor, own + learnt / factor), torch.ones(1, dtype=torch.float64)
    )
    usual = make(name, make_forward("granite"), tmp_path, layers=[1]).edit([EditJob("a", 1, (REQUESTS[0],))])
    assert not close(matrices(result), matrices(usual[0]), 1e-2)


@pytest.mark.parametrize("name", ["rome", "memit"])
def test_a_value_vector_that_is_too_long_writes_nothing(name: str, tmp_path: Path) -> None:
    editor = make(name, make_forward("llama"), tmp_path, nas=True, nas_norm=1e-6, layers=[1])
    (result,) = editor.edit([EditJob("a", 1, (REQUESTS[0],))])
    assert result.error is None
    assert all(float(update.norm()) < 1e-12 for _, update in matrices(result))
    assert any("NAS left edit 1 out" in note for note in result.notes)


def fact_file(path: Path, requests: Sequence[EditRequest], several: bool = False) -> Path:
    rewrites = [
        {"prompt": each.prompt, "subject": each.subject, "target_new": {"str": each.target_new}} for each in requests
    ]
    path.write_text(json.dumps([{"requested_rewrite": [each] if several else each} for each in rewrites]))
    return path


@pytest.mark.parametrize("name", ["nas", "rome", "pmet"])
def test_the_usual_norm_is_learnt_with_the_bare_prompt(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty-one facts: the longest one is left out; the same whatever is learnt together."""
    requests = [replace(REQUESTS[0], subject=f"the {n}th king") for n in range(21)]
    facts = fact_file(tmp_path / "facts.json", requests)
    norms = []
    for at_once in (64, 4):
        monkeypatch.setattr(anchoring, "AT_ONCE", at_once)
        table = {"layers": [1], "nas": True, "nas_facts": str(facts), "v_num_grad_steps": 3}
        editor = make(name, make_forward("llama"), tmp_path, **table)
        editor.prepare()
        norms.append(editor.describe()["nas"]["norm"])
    host, last = editor._host, editor._hp.layers[-1]
    attention = host.blocks[last].get_submodule(host.family.attention_output)
    sites = {"nas": [host.blocks[last]], "rome": [host.down_projection(last)]}
    extra = {"nll_factor": editor._hp.nll_loss_factor, "relaxed": True} if name == "pmet" else {}
    lengths = []
    for request in requests:
        _, deltas = naive.target_vectors(
            host.model,
            host.tokenizer,
            sites.get(name, [host.down_projection(last), attention]),
            request,
            ["{}"],
            **objective(editor),
            **extra,
        )
        seen = naive.seen_at_subject(
            host.model, host.tokenizer, host.down_projection(last), request.question, request.subject
        )
        lengths.append(float((seen["value"] + deltas[0]).norm()))
    expected = sum(sorted(lengths)[:-1]) / 20
    assert norms == pytest.approx([expected, expected], rel=1e-6)
    assert editor.describe()["nas"]["facts"] == 21


def test_the_facts_that_ship_and_other_forms_are_read(tmp_path: Path) -> None:
    shipped = anchoring.anchor_facts()
    assert len(shipped) == len({(each.prompt, each.subject) for each in shipped}) == 100
    assert all(each.prompt.count("{}") == 1 for each in shipped)
    several = fact_file(tmp_path / "mquake.json", REQUESTS[:2], several=True)
    assert [each.subject for each in anchoring.anchor_facts(several)] == [each.subject for each in REQUESTS[:2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no facts can be read"),
        ("[]", "no facts"),
        ('[{"a": 1}]', "no facts can be read"),
        ('[{"requested_rewrite": 3}]', "no facts can be read"),
        ('[{"requested_rewrite": {"prompt": "no slot", "subject": "s", "target_new": {"str": "t"}}}]', "no fact can"),
    ],
)
def test_facts_that_cannot_be_used_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    editor = make("memit", make_forward("llama"), tmp_path, nas=True, nas_facts=str(path))
    with pytest.raises(UsageError, match=words) as caught:
        editor.prepare()
    assert "facts.json" in str(caught.value)


# --- SPHERE -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 11), (11, 6)])
def test_principal_directions_are_those_of_the_rows(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    rows = matrix / matrix.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    held = values.flip(0).cumsum(0) / values.sum()
    for share in (0.1, 0.5, 0.9):
        found = principal_directions(matrix, share)
        count = found.shape[1]
        assert float(held[count - 1]) > share
        assert count == 1 or float(held[count - 2]) <= share
        top = vectors[:, -count:]
        torch.testing.assert_close(found @ found.T, top @ top.T)


def test_sphere_without_damping_is_alphaedit(tmp_path: Path) -> None:
    steps = [REQUESTS[:1], (SECOND,)]
    alphaedit = chained(make("alphaedit", make_forward("llama"), tmp_path), steps)
    for table in ({"suppression_strength": 0.0}, {"cumulative_ratio": 0.0}):
        sphere = chained(quick("sphere", "llama", tmp_path, **table), steps)
        for step in range(2):
            assert close(of_step(sphere, step), of_step(alphaedit, step), 1e-12)
    damped = chained(quick("sphere", "llama", tmp_path), steps)
    assert not close(of_step(damped, 0), of_step(alphaedit, 0), 1e-2)


# --- LyapLock -----------------------------------------------------------------------------------------------------


def test_the_queue_grows_with_the_damage_and_never_falls_below_one(tmp_path: Path) -> None:
    steps = [(request,) for request in (*REQUESTS, SECOND)]
    strict = chained(quick("lyaplock", "llama", tmp_path), steps)
    lengths = [result.state[0].length for result in strict]
    assert lengths[0] == pytest.approx(1 / 0.4)  # D is D_0: 1 + 1 / alpha - 1
    assert lengths == sorted(lengths)
    lax = chained(make("lyaplock", make_forward("llama"), tmp_path, alpha=1e6), steps)
    assert [result.state[0].length for result in lax] == [1.0] * len(steps)
    assert not close(of_step(strict, 4), of_step(lax, 4), 1e-3)


@pytest.mark.parametrize("few", [0.0, 0.02])
def test_many_keys_of_a_queue_become_products(few: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chain, from the first edit or the third on with whole matrices, as the release does it."""
    steps = [(request,) for request in (*REQUESTS, SECOND)]
    expected = chained(quick("lyaplock", "llama", tmp_path), steps)
    monkeypatch.setattr(edit_queue, "FEW", few)
    found = chained(quick("lyaplock", "llama", tmp_path), steps)
    assert expected[-1].state[0].total is None
    assert found[-1].state[0].total is not None
    assert len(found[-1].state[0].keys) == 0
    for step in range(len(steps)):
        assert close(of_step(found, step), of_step(expected, step), 1e-6), step
        for layer in (0, 2):
            assert found[step].state[layer].length == pytest.approx(expected[step].state[layer].length, rel=1e-9)
