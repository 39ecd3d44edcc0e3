"""Matrices in bfloat16 inside a model that computes in float32: every family, every editor, and what is told of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.falcon.modeling_falcon import FalconLinear
from transformers.pytorch_utils import Conv1D

from pytest_editpitfalls.editors import in_place_editor
from pytest_editpitfalls.engine.bf16_weights import has_bf16_weights, keep_matrices_in_bf16
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.kept_weights import check_before_loading
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.models import memory_estimate, placement, resolve
from pytest_editpitfalls.engine.probing.one_row import rounding
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS, EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import CaseScores, Program, SuitePrograms
from tests.engine.test_seeds_of_editors import PROGRAM, QUICK
from tests.tiny_models import TINY, save_tiny, tiny_model

HALF_EPS = torch.finfo(torch.bfloat16).eps  # of a rounded number, twice what one rounding can be off


@pytest.fixture(autouse=True, scope="module")
def _any_cpu_will_do() -> Any:
    """Slow products are as right as fast ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "_has_bf16_products", lambda _: True)
        yield


def converted(family: str, **options: Any) -> tuple[Any, Any]:
    model, tokenizer = tiny_model(family, **options)
    model.requires_grad_(False)
    keep_matrices_in_bf16(model, family_for(model.config).blocks)
    return model, tokenizer


@torch.no_grad()
def log_p(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = torch.tensor([tokenizer("The capital of France is Paris. The mother of the king")["input_ids"]])
    logits: torch.Tensor = model(input_ids=ids).logits
    return logits.float().log_softmax(-1)


@pytest.mark.parametrize("name", TINY)
def test_every_family_answers_as_in_float32_but_for_rounding(name: str) -> None:
    plain, tokenizer = tiny_model(name)
    model, _ = converted(name)
    assert has_bf16_weights(model)
    assert not has_bf16_weights(plain)
    expected, found = log_p(plain, tokenizer), log_p(model, tokenizer)
    assert 0 < (found - expected).abs().mean() < 0.06  # 0.009 to 0.044 here; a product that is left out gives 1
    blocks = model.get_submodule(family_for(model.config).blocks)
    kept = {(parameter.dtype, parameter.ndim > 1) for parameter in blocks.parameters()}
    routers = {(torch.float32, True)} if "experts" in str(model).lower() else set()
    assert kept - routers == {(torch.bfloat16, True), (torch.float32, False)}


def test_what_is_kept_takes_half_and_a_tied_head_is_kept_once() -> None:
    for tie in (True, False):
        plain, _ = tiny_model("llama", tie=tie)
        model, _ = converted("llama", tie=tie)
        head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert (head is table) == tie
        assert head.dtype == table.dtype == torch.bfloat16
        taken = [sum(parameter.nbytes for parameter in each.parameters()) for each in (model, plain)]
        assert taken[0] < 0.51 * taken[1]


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_a_checkpoint_of_any_precision(stored: torch.dtype) -> None:
    model, tokenizer = converted("gpt2", dtype=stored)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32, torch.bfloat16}
    assert (log_p(model, tokenizer) - log_p(*tiny_model("gpt2"))).abs().mean() < 0.06


@pytest.mark.parametrize(
    ("stored", "bytes_each"), [(torch.float32, 2), (torch.bfloat16, 2), (torch.float16, 4)], ids=str
)
def test_the_estimate_counts_what_is_read_before_it_is_rounded(
    stored: torch.dtype, bytes_each: int, tmp_path: Path
) -> None:
    """A file of float16 is converted to float32 as a whole; one of float32 is mapped."""
    model, tokenizer = tiny_model("gpt2")
    model.to(stored).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    memory = memory_estimate(resolve(str(tmp_path)), BF16_WEIGHTS, "cpu")
    assert memory.weights_bytes == bytes_each * memory.parameters


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D, FalconLinear])
@pytest.mark.parametrize("bias", [True, False])
def test_products_and_gradients_of_one_matrix(kind: Any, bias: bool) -> None:
    """Both factors are rounded, the sum is not, and its result is once; the gradient is rounded likewise."""
    torch.manual_seed(0)
    layer = Conv1D(48, 64) if kind is Conv1D else kind(64, 48, bias=bias)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    model = Holder([layer])
    layer = model.blocks[0]
    rounded = (layer.weight.T if is_transposed(layer) else layer.weight).detach().double().bfloat16().double()
    keep_matrices_in_bf16(model, "blocks")
    assert isinstance(layer, kind)
    assert is_transposed(layer) == (kind is Conv1D)
    x, g = torch.randn(3, 40, 64, requires_grad=True), torch.randn(3, 40, 48)
    y = layer(x)
    y.backward(g)
    assert y.dtype == x.grad.dtype == torch.float32
    exact = x.detach().bfloat16().double() @ rounded.T
    shift = 0 if layer.bias is None else layer.bias.double()
    assert ((y - shift - exact).abs() <= HALF_EPS * exact.abs() + 1e-4).all()
    back = g.bfloat16().double() @ rounded
    assert ((x.grad - back).abs() <= HALF_EPS * back.abs() + 1e-4).all()


def test_logits_lose_nothing_but_the_rounding_of_their_factors() -> None:
    model = Holder([])
    head = model.head
    keep_matrices_in_bf16(model, "blocks")
    x = 5 * torch.randn(40, 64, requires_grad=True)
    logits = head(x)
    exact = x.detach().bfloat16().double() @ head.weight.double().T
    assert (logits - exact).abs().max() < 1e-4 * exact.abs().max()
    assert (logits.bfloat16() - exact).abs().max() > 1e-3 * exact.abs().max()
    (grad,) = torch.autograd.grad(logits.sum(), x)
    back = torch.ones_like(logits).double() @ head.weight.double()
    assert ((grad - back).abs() <= HALF_EPS * back.abs() + 1e-4).all()


class Holder(nn.Module):
    """As much of a model as the conversion asks for."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.blocks, self.table, self.head = (
            nn.ModuleList(layers),
            nn.Embedding(300, 64),
            nn.Linear(64, 300, bias=False),
        )
        self.requires_grad_(False)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def get_output_embeddings(self) -> nn.Module:
        return self.head


class Scaled(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_what_is_not_a_plain_product_is_left_in_float32() -> None:
    """A layer that does more, and a matrix that something else uses, too."""
    scaled, shared = Scaled(64, 64), nn.Linear(64, 64)
    borrower = nn.Module()
    borrower.register_parameter("weight", shared.weight)
    model = Holder([scaled, shared, borrower])
    x = torch.randn(2, 64)
    before = [scaled(x), shared(x)]
    keep_matrices_in_bf16(model, "blocks")
    assert all(torch.equal(one, other) for one, other in zip(before, [scaled(x), shared(x)], strict=True))
    assert scaled.weight.dtype == shared.weight.dtype == torch.float32
    assert model.head.weight.dtype == torch.bfloat16


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineSession]:
    home = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITPITFALLS_CACHE", str(home / "cache"))
        model = save_tiny(home / "tiny", "gpt2")
        return {
            dtype: EngineSession.open(EngineSettings(str(model), device="cpu", dtype=dtype, overrides=QUICK))
            for dtype in ("float32", BF16_WEIGHTS)
        }


OTHER = replace(PROGRAM, case_id="other", steps=PROGRAM.steps[::-1])
SUITE = SuitePrograms("reverse", lambda: [PROGRAM, OTHER])


def answers(session: EngineSession, editor: str, programs: list[Program]) -> list[list[float]]:
    found: list[CaseScores] = session.run(editor, programs, suite=SUITE)
    assert [scores.error for scores in found] == [None] * len(programs)
    return [[math.log(each) for probe in scores.probes for each in probe.probabilities] for scores in found]


@pytest.mark.parametrize("name", [each.name for each in shipped_editors() if not each.training])
def test_every_editor_edits_as_in_float32_and_in_batches_as_alone(sessions: dict[str, Any], name: str) -> None:
    session = sessions[BF16_WEIGHTS]
    exact = answers(sessions["float32"], name, [PROGRAM])[0]
    together = answers(session, name, [PROGRAM, OTHER])
    assert together[0] != exact
    assert together[0] == pytest.approx(exact, rel=rounding(torch.bfloat16))
    if name in ("rome", "memit", "ft-l", "wise", "ike"):  # one of each form, and the rest are made likewise
        assert together[0] == pytest.approx(answers(session, name, [PROGRAM])[0], rel=rounding(torch.bfloat16))


def test_it_is_told_and_has_a_model_and_second_moments_of_its_own(sessions: dict[str, EngineSession]) -> None:
    """What is stored under one precision is never taken for another's."""
    plain, rounded = sessions["float32"], sessions[BF16_WEIGHTS]
    assert rounded.describe("rome")["model"]["dtype"] == rounded.dtype == BF16_WEIGHTS
    assert rounded.fingerprint != plain.fingerprint
    for session in (rounded, plain):  # both are remembered beside each other
        again = EngineSession.open(session.settings)
        assert again.fingerprint == session.fingerprint
    assert rounded.host.edit_dtype == torch.float32
    assert rounded.host.dtype == torch.bfloat16


@in_place_editor(draws="nothing")
def writes(model: Any, tokenizer: Any, requests: Any) -> None:
    """Never called."""


def test_an_editor_that_writes_in_place_is_refused(sessions: dict[str, EngineSession]) -> None:
    EDITORS.add("writes", writes, origin="a test")
    with pytest.raises(UsageError, match=r"dtype=bf16-weights: 'writes' edits in place, .*\n.*dtype=float32"):
        sessions[BF16_WEIGHTS].run("writes", [PROGRAM])
    with pytest.raises(UsageError, match="'writes' edits in place"):
        check_before_loading(["rome", "writes"], [], BF16_WEIGHTS)
    check_before_loading(["writes"], [], None)
    check_before_loading(["rome"], [], BF16_WEIGHTS)
    EDITORS.forget_added()
