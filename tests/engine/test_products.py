"""Which products of float32 numbers a run makes: those that were asked for, whatever the process allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine import moments, products
from pytest_editpitfalls.engine.locate_then_edit import core
from pytest_editpitfalls.engine.models import resolve
from pytest_editpitfalls.engine.moments import collection
from pytest_editpitfalls.engine.products import float32_products
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from tests.engine.conftest import make_forward
from tests.engine.test_session import QUICK, case
from tests.tiny_models import save_tiny

matmul: Any = torch.backends.cuda.matmul
FINE = hasattr(matmul, "fp32_precision")
since_2_9 = pytest.mark.skipif(not FINE, reason="torch before 2.9 has one switch")


def made() -> str:
    return {"highest": "ieee", "high": "tf32"}[torch.get_float32_matmul_precision()]


@contextmanager
def process_allows(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
        assert torch.get_float32_matmul_precision() == precision, "the process's own setting is lost"
    finally:
        torch.set_float32_matmul_precision(before)


def session_of(dtype: str | None, cache: Path) -> EngineSession:
    """On a CPU, where the setting exists and changes nothing; `EngineSession.open` would refuse "tf32" there."""
    source = resolve(str(save_tiny(cache / "tiny", "llama")), cache_dir=cache)
    settings = EngineSettings(source.name, device="cpu", dtype=dtype, overrides={"rome": QUICK})
    return EngineSession(settings, make_forward("llama").host, source)


@pytest.mark.parametrize(("dtype", "expected"), [(None, "ieee"), ("tf32", "tf32")])
def test_passes_are_made_as_asked_and_second_moments_exactly(
    dtype: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: defaultdict[str, set[str]] = defaultdict(set)

    def watch(place: Any, name: str) -> None:
        own = getattr(place, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen[name].add(made())
            return own(*args, **kwargs)

        monkeypatch.setattr(place, name, watched)

    watch(moments.SecondMoments, "get")
    watch(core.TargetVectorSearch, "run")
    session = session_of(dtype, tmp_path)
    watch(session.forward, "log_probs")
    exactly = collection.exact_products

    @contextmanager
    def exact(keys: torch.Tensor) -> Iterator[None]:
        with exactly(keys):
            seen["second moment"].add(made())
            yield

    monkeypatch.setattr(collection, "exact_products", exact)
    for precision in ("highest", "high"):
        with process_allows(precision):
            assert session.run("rome", [case(0)])[0].error is None
            with session.edited("rome", case(0), "1"):
                seen["edited"].add(made())
    assert seen.pop("second moment") == {"ieee"}
    assert seen == {name: {expected} for name in ("get", "run", "log_probs", "edited")}


def test_tf32_is_told_and_has_second_moments_of_its_own(tmp_path: Path) -> None:
    """What is stored under one number type is never taken for another's."""
    plain, fast = session_of(None, tmp_path), session_of("tf32", tmp_path)
    assert plain.describe("rome")["model"]["dtype"] == "float64"
    assert fast.describe("rome")["model"]["dtype"] == "tf32"
    kept = []
    for session in (plain, fast, plain):
        session.run("rome", [case(0)])
        kept.append(len(list((tmp_path / "second-moments").rglob("*.safetensors"))))
    assert kept == [kept[0], 2 * kept[0], 2 * kept[0]]
    assert kept[0] > 0


def switches() -> list[str]:
    """All of them, the way that others read them; the old ones raise where the new ones say something else."""
    new = [str(each.fp32_precision) for each in (matmul, torch.backends.mkldnn.matmul)] if FINE else []  # type: ignore[attr-defined]
    return [torch.get_float32_matmul_precision(), str(matmul.allow_tf32), *new]


@pytest.mark.parametrize("old_torch", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("allowed", ["highest", "high", "medium"])
def test_every_switch_can_be_read_meanwhile_and_is_put_back(
    allowed: str, tf32: bool, old_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_torch:
        monkeypatch.setattr(products, "_switches", list)
    told = {True: ["high", "True"], False: ["highest", "False"]}

    def work() -> None:
        assert switches()[:2] == told[tf32]
        with float32_products(tf32=not tf32):
            assert switches()[:2] == told[not tf32]
        assert switches()[:2] == told[tf32]
        matmul.allow_tf32 = not tf32  # as released editors' code does
        raise KeyError

    with process_allows(allowed):
        before = switches()
        with pytest.raises(KeyError), float32_products(tf32=tf32):
            work()
        assert switches() == before


@since_2_9
def test_a_switch_that_inherits_goes_on_inheriting() -> None:
    backends: Any = torch.backends
    own = backends.fp32_precision, matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision
    try:
        matmul.fp32_precision = backends.mkldnn.matmul.fp32_precision = "none"
        backends.fp32_precision = "tf32"
        with float32_products(tf32=False):
            assert matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "tf32"
        backends.fp32_precision = "ieee"
        assert matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "ieee"
    finally:
        backends.fp32_precision, matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision = own
