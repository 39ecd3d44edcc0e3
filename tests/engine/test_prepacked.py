"""Rearranged copies of matrices: the same answers and gradients in every family, and only while nothing was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pytest_editpitfalls.editors import in_place_editor
from pytest_editpitfalls.engine import prepacked
from pytest_editpitfalls.engine.bf16_weights import keep_matrices_in_bf16
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward, Rows
from pytest_editpitfalls.engine.generation import Generator, Prompt
from pytest_editpitfalls.engine.matrices import is_plain
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.sampling import sample
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from tests.engine.conftest import ALL
from tests.engine.test_seeds_of_editors import PROGRAM, QUICK
from tests.tiny_models import save_tiny, tiny_model

PLENTY = 10**12
ROWS = ((5, 6, 7, 8), (9, 10), (11, 12, 13))


@pytest.fixture(autouse=True)
def _operators_are_there() -> None:
    if prepacked._packed(nn.Linear(5, 7), back=True) is None:
        pytest.skip("this torch cannot rearrange matrices for oneDNN")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each product that is made through a copy."""
    rows, multiplied = list[int](), prepacked._multiplied

    def counted(x: Tensor, *rest: Any) -> Tensor:
        if x.shape[:-1] != (prepacked.TRIED,):  # while copies are made
            rows.append(x.shape[:-1].numel())
        return multiplied(x, *rest)

    monkeypatch.setattr(prepacked, "_multiplied", counted)
    return rows


def made(name: str, dtype: torch.dtype = torch.float32, free: int = PLENTY) -> Forward:
    model, tokenizer = tiny_model(name, dtype=dtype)
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    host.pack(free)
    return Forward(host)


def answers(forward: Forward, *, first: int = 1) -> tuple[Tensor, Tensor]:
    """Logits of all tokens behind hidden states, and the gradient of a sum over them by those states."""
    rows = Rows.pad(ROWS, torch.device("cpu"))
    width = forward.host.widths[0]
    hidden = torch.linspace(-1, 1, rows.ids.numel() * width).reshape(*rows.ids.shape, width).requires_grad_()
    out = forward.blocks(rows, first=first, hidden=hidden)
    logits = forward.head(out.flatten(0, 1)[rows.tokens])
    logits.log_softmax(-1)[:, ::7].sum().backward()
    assert hidden.grad is not None
    return logits.detach(), hidden.grad


def without(forward: Forward) -> Forward:
    """The same model, its copies forgotten."""
    forward.host.prepacked._entries.clear()
    return forward


def close(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], bound: float = 2e-5) -> None:
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=bound, atol=bound * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ALL)
def test_every_family_answers_as_without(name: str, products: list[int]) -> None:
    forward = made(name)
    found = answers(forward)
    assert products
    assert forward.host.prepacked.nbytes > 0
    del products[:]
    close(found, answers(without(forward)))
    assert not products


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_all_matrices_of_a_block_and_the_head_have_copies(name: str, products: list[int]) -> None:
    """GPT-2 keeps its matrices transposed, and has biases."""
    forward = made(name)
    answers(forward)
    matrices = {"gpt2": 4, "llama": 7}[name] * (forward.n_layers - 1) + 1
    assert len(products) == 2 * matrices  # there, and back


def test_what_is_in_a_weights_place_answers(products: list[int]) -> None:
    forward = made("llama")
    host, matrix = forward.host, forward.host.down_projection(1)
    own: Any = matrix.weight
    answers(forward)
    all_of_them = len(products)
    matrix._parameters["weight"] = nn.Parameter(2 * own, requires_grad=False)
    try:
        del products[:]
        found = answers(forward)
        assert len(products) == all_of_them - 2
        entries, host.prepacked._entries = host.prepacked._entries, {}
        close(found, answers(forward))
        host.prepacked._entries = entries
    finally:
        matrix._parameters["weight"] = own
    close(answers(forward), answers(without(forward)))


def test_a_weight_that_was_written_is_used_itself(products: list[int]) -> None:
    forward = made("gpt2")
    before, _ = answers(forward)
    with torch.no_grad():
        forward.host.down_projection(1).weight.mul_(3)  # type: ignore[operator]
    found = answers(forward)
    assert not torch.allclose(found[0], before, atol=1e-3)
    close(found, answers(without(forward)))


def test_weights_whose_memory_was_changed_answer_until_it_is_put_back(products: list[int]) -> None:
    """As an edited checkpoint's are while it is asked: the parameter is the same object."""
    forward = made("llama")
    before = answers(forward)
    all_of_them = len(products)
    weight: Any = forward.host.down_projection(1).weight
    own = weight.data
    weight.data = own * 2
    del products[:]
    found = answers(forward)
    assert len(products) == all_of_them - 2
    weight.data = own
    del products[:]
    assert torch.equal(answers(forward)[0], before[0])
    assert len(products) == all_of_them
    weight.data = own * 2
    close(found, answers(without(forward)))


def test_a_forward_of_somebody_elses_stays(products: list[int]) -> None:
    forward = made("llama")
    matrix: Any = forward.host.down_projection(1)
    seen = list[int]()

    def own(x: Tensor) -> Tensor:
        seen.append(1)
        return linear(x, matrix.weight)

    matrix.forward = own
    answers(forward)
    assert seen
    assert matrix.forward is own


def test_modules_are_as_before_after_a_pass_that_fails() -> None:
    forward = made("llama")
    before = [vars(module).get("forward") for module in forward.host.model.modules()]

    def fail(*_: Any) -> None:
        raise KeyError("x")

    handle = forward.host.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(KeyError):
        answers(forward)
    handle.remove()
    assert [vars(module).get("forward") for module in forward.host.model.modules()] == before


def test_memory_decides_how_many_copies_there_are(products: list[int]) -> None:
    both = made("llama").host.prepacked.nbytes
    one = made("llama", free=int(both / prepacked.SHARE) - 1)
    assert one.host.prepacked.nbytes == both // 2
    found = answers(one)
    assert products
    close(found, answers(without(one)))
    none = made("llama", free=int(both / 2 / prepacked.SHARE) - 1)
    assert none.host.prepacked.nbytes == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_have_none(dtype: torch.dtype) -> None:
    assert made("llama", dtype).host.prepacked.nbytes == 0


def test_without_the_operators_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(prepacked, "_multiplied", missing)
    assert made("llama").host.prepacked.nbytes == 0


def test_operators_that_answer_otherwise_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied = prepacked._multiplied
    monkeypatch.setattr(prepacked, "_multiplied", lambda *args: 1.001 * multiplied(*args))
    assert made("llama").host.prepacked.nbytes == 0


def test_who_turns_onednn_off_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert made("llama").host.prepacked.nbytes == 0


def test_a_bias_with_strides_is_added_as_it_is() -> None:
    module = nn.Linear(6, 5).requires_grad_(False)
    module.bias.data = torch.randn(10)[::2]
    copies = prepacked.Prepacked()
    copies.pack([module], PLENTY)
    x = torch.randn(3, 6)
    with copies.of([module]):
        assert "forward" in vars(module)
        torch.testing.assert_close(module(x), linear(x, module.weight, module.bias))


def test_a_forward_that_an_interrupt_left_behind_answers_for_no_other_weights() -> None:
    module = nn.Linear(6, 5).requires_grad_(False)
    copies = prepacked.Prepacked()
    copies.pack([module], PLENTY)
    (entry,) = copies._entries[module]
    vars(module)["forward"] = entry._forward
    module.weight.data = 2 * module.weight.data
    x = torch.randn(3, 6)
    with copies.of([module]):
        torch.testing.assert_close(module(x), linear(x, module.weight, module.bias))
    assert "forward" not in vars(module)


def test_a_call_that_no_copy_is_for_is_the_modules_own() -> None:
    module = nn.Linear(6, 5).requires_grad_(False)
    copies = prepacked.Prepacked()
    copies.pack([module], PLENTY)
    x = torch.randn(3, 6)
    with copies.of([module]):
        torch.testing.assert_close(module(input=x), module(x))
        with pytest.raises(RuntimeError, match="dtype"):
            module(x.double())
    module.weight.requires_grad_()
    with copies.of([module]):
        module(x).sum().backward()
    assert module.weight.grad is not None


def test_where_onednn_fails_the_matrix_itself_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = made("gpt2")
    expected = answers(forward)

    tried = list[int]()

    def fail(*_: Any) -> Tensor:
        tried.append(1)
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(prepacked, "_multiplied", fail)
    close(answers(forward), expected)
    assert tried == [1]  # it would crash later
    assert forward.host.prepacked.nbytes == 0


def test_without_memory_there_are_no_copies() -> None:
    assert made("llama", free=-(10**9)).host.prepacked.nbytes == 0


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_have_gradients(with_bias: bool) -> None:
    module = nn.Linear(6, 5, bias=with_bias).requires_grad_(False)
    matrix = prepacked._packed(module, back=True)
    assert matrix is not None

    def second(product: Callable[[Tensor], Tensor]) -> list[Tensor]:
        x = torch.linspace(-1, 1, 18).reshape(3, 6).requires_grad_()
        y = product(x)
        (g,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
        (gg,) = torch.autograd.grad(g.square().sum(), x)
        return [y, g, gg]

    for found, expected in zip(second(lambda x: prepacked._product(x, matrix)), second(module), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_no_rows_are_no_product(products: list[int]) -> None:
    module = nn.Linear(6, 5).requires_grad_(False)
    matrix = prepacked._packed(module, back=True)
    assert matrix is not None
    del products[:]
    assert prepacked._product(torch.zeros(2, 0, 6), matrix).shape == (2, 0, 5)
    assert not products


def test_a_layer_that_does_more_than_multiply_is_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    class Two(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), x

    assert is_plain(nn.Linear(4, 3))
    assert not is_plain(Doubled(4, 3))
    assert not is_plain(Two(4, 3))


def test_bf16_weights_round_as_before_and_the_head_keeps_its_digits(products: list[int]) -> None:
    model, tokenizer = tiny_model("llama")
    model.requires_grad_(False)
    keep_matrices_in_bf16(model, family_for(model.config).blocks)
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    host.pack(PLENTY)
    if not host.prepacked.nbytes:
        pytest.skip("no products in bfloat16 here")
    forward = Forward(host)
    found = answers(forward)
    assert len(products) == 2 * 7 * (forward.n_layers - 1)
    close(found, answers(without(forward)), bound=float(4 * torch.finfo(torch.bfloat16).eps))


def test_generated_and_sampled_text_is_the_same(products: list[int]) -> None:
    forward = made("llama")
    prompts = [Prompt(0, row, 6) for row in ROWS]

    def said() -> list[list[int]]:
        spoken = [each.tokens for each in Generator(forward, max_tokens=64).continued([()], prompts)]
        return [*spoken, *sample(forward.host, [(5,), (6,)], 9, seed=3, top_k=None)]

    found = said()
    assert len(products) > 6 * 7
    assert found == said()
    del products[:]
    without(forward)
    assert found == said()
    assert not products


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(home / "cache"))
        yield str(save_tiny(home / "tiny", "llama"))


@pytest.mark.parametrize("editor", ["rome", "memit", "ft-l"])
def test_a_session_packs_and_its_scores_are_those_of_plain_products(
    editor: str, saved: str, products: list[int]
) -> None:
    session = EngineSession.open(EngineSettings(saved, device="cpu", dtype="float32", overrides=QUICK))
    assert session.host.prepacked.nbytes > 0
    (found,) = session.run(editor, [PROGRAM])
    assert products
    session.host.prepacked._entries.clear()
    del products[:]
    (expected,) = session.run(editor, [PROGRAM])
    assert not products
    assert found.error is None
    pairs = zip(found.probes, expected.probes, strict=True)
    assert all(one.probabilities == pytest.approx(other.probabilities, rel=2e-3) for one, other in pairs)


def double(model: Any, tokenizer: Any, requests: Any) -> None:
    """An editor that writes past torch's count of writes, as much of the field's code does."""
    model.model.layers[1].mlp.down_proj.weight.data.mul_(2)


def test_what_an_in_place_editor_leaves_alone_is_multiplied_through_copies(
    saved: str, products: list[int], request: pytest.FixtureRequest
) -> None:
    session = EngineSession.open(EngineSettings(saved, device="cpu", dtype="float32"))
    EDITORS.add("double", in_place_editor()(double), origin="a test")
    request.addfinalizer(EDITORS.forget_added)
    host = session.host
    found = session.run("double", [PROGRAM, PROGRAM])
    assert [each.error for each in found] == [None, None]
    assert products
    assert all(entry.is_as_loaded() for entries in host.prepacked._entries.values() for entry in entries)
    host.prepacked._entries.clear()
    again = session.run("double", [PROGRAM, PROGRAM])
    for one, other in zip(found, again, strict=True):
        for mine, plain in zip(one.probes, other.probes, strict=True):
            assert mine.probabilities == pytest.approx(plain.probabilities, rel=2e-3)


def test_a_process_among_many_counts_on_its_share_only(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen workers that each took a quarter of what is free would take four times of what there is."""
    seen = list[int]()
    monkeypatch.setattr(ModelAdapter, "pack", lambda _self, free: seen.append(free))
    for processes in (1, 4):
        EngineSession.open(EngineSettings(saved, device="cpu", processes=processes))
    assert seen[1] < seen[0] / 3
