"""The text that ships for the embedded model is what that model samples, and nobody samples it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.moments import second_moments
from pytest_editpitfalls.engine.moments.second_moments import SHIPPED_TEXTS, SecondMoments
from pytest_editpitfalls.engine.moments.tensor_files import write_tensors
from pytest_editpitfalls.engine.sampling import starts
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from tests.engine.conftest import make_forward

ROWS, LENGTH = 96, 64
"""Documents that are drawn together, and their tokens."""


@torch.no_grad()
def test_each_token_is_what_the_embedded_model_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = EngineSession.open(EngineSettings(model="smollm2-135m", device="cpu"))
    host = session.host
    kept: list[Any] = []
    monkeypatch.setattr(second_moments, "sampled_documents", lambda *_, **__: pytest.fail("text is sampled"))
    monkeypatch.setattr(second_moments, "collect", lambda _f, documents, *_, **__: kept.append(documents) or 1 / 0)
    moments = SecondMoments(
        session.forward, fingerprint=f"{session.fingerprint}-torch.float32", cache=tmp_path, max_tokens=600
    )
    with pytest.raises(ZeroDivisionError):
        moments.get(MomentSource(), [0])
    (window,) = kept[0].windows(0)
    ids = torch.tensor(window.documents)
    assert ids.shape == (2 * ROWS, LENGTH)
    forbidden = list(set(host.tokenizer.all_special_ids))
    for batch, row in ((0, 41), (1, 95)):
        generator = torch.Generator().manual_seed(batch)
        drawn = torch.cat([torch.rand(ROWS, 1, generator=generator)[row] for _ in range(LENGTH - 1)])
        document = ids[batch * ROWS + row]
        assert tuple(document[:1].tolist()) == starts(host)[0]
        logits = host.model(input_ids=document[None, :-1]).logits[0].double()
        logits[:, forbidden] = -torch.inf
        cumulated = logits.softmax(dim=1).cumsum(dim=1)
        chosen = document[1:, None]
        after = cumulated.gather(1, chosen)[:, 0]
        before = torch.where(chosen[:, 0] > 0, cumulated.gather(1, (chosen - 1).clamp(min=0))[:, 0], 0.0)
        assert bool((before - 1e-4 <= drawn).all())
        assert bool((drawn <= after + 1e-4).all())


def test_a_text_that_is_there_is_not_sampled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = make_forward("llama")
    source, folder = MomentSource(tokens=256), tmp_path / "texts"

    def moments(name: str) -> SecondMoments:
        return SecondMoments(forward, fingerprint="tiny", cache=tmp_path / name, max_tokens=600, texts=folder)

    sampled = moments("a").get(source, [0])[0]
    (text,) = (path for path in (tmp_path / "a").iterdir() if "ids" in load_file(path))
    write_tensors(folder / text.name, {"ids": load_file(text)["ids"].int()}, {})
    monkeypatch.setattr(second_moments, "sampled_documents", lambda *_, **__: pytest.fail("text is sampled"))
    assert torch.equal(moments("b").get(source, [0])[0].matrix, sampled.matrix)


def test_what_ships_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED_TEXTS.iterdir()) < 100_000
