"""An edited model that decides for all rows of a pass at once must not answer for a row's neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from pytest_editpitfalls.editors import EditResult, in_place_editor
from pytest_editpitfalls.engine.overlay import ForwardHook, LowRankDelta, RowContext
from pytest_editpitfalls.errors import UntrustedEditor
from pytest_editpitfalls.probes import Divergence, Generated
from pytest_editpitfalls.program import Program
from tests.engine.test_in_place import Bench, naive_probabilities, program

ROWS: list[int] = []


def by_mean(model: Any, _tokenizer: Any, requests: Any) -> Any:
    """Routes a whole batch by one decision, as EasyEdit's WISE does: what the mean of its rows is near to."""
    scale = 1 + len(requests[0]["subject"]) / 10

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        ROWS.append(len(output))
        return output * scale if output.mean() > 0 else output - 0.3 * scale

    model.model.layers[1].mlp.register_forward_hook(hook)
    return model


def by_row(model: Any, _tokenizer: Any, requests: Any) -> Any:
    """Decides for each token of each row."""
    scale = 1 + len(requests[0]["subject"]) / 10

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        ROWS.append(len(output))
        near = output.mean(dim=-1, keepdim=True) > 0
        return torch.where(near, output * scale, output - 0.3 * scale)

    model.model.layers[1].mlp.register_forward_hook(hook)
    return model


@pytest.fixture(autouse=True)
def rows() -> list[int]:
    """How many rows each pass of an edited model had."""
    ROWS.clear()
    return ROWS


def test_attachments_are_asked_one_row_at_a_time(rows: list[int]) -> None:
    bench = Bench()
    expected = naive_probabilities(bench, by_mean)
    (answer,) = bench.scores(in_place_editor(keeps="attachments")(by_mean))
    assert answer.error is None
    for probe, other in zip(answer.probes, expected, strict=True):
        assert probe.probabilities == pytest.approx(other, rel=1e-9)
    assert set(rows) == {1}


def test_declared_rows_share_a_pass(rows: list[int]) -> None:
    bench = Bench()
    expected = naive_probabilities(bench, by_row)
    editor = in_place_editor(keeps="attachments", independent_rows=True)(by_row)
    (answer,) = bench.scores(editor)
    assert answer.error is None
    for probe, other in zip(answer.probes, expected, strict=True):
        assert probe.probabilities == pytest.approx(other, rel=1e-9)
    assert max(rows) > 1


def test_a_wrong_declaration_is_refused_at_the_first_row_that_shows_it() -> None:
    """Not an error of one case: where one row shows it, others were answered so, too."""
    bench = Bench()
    with pytest.raises(UntrustedEditor, match="editor 'mine': the edited model answers a row by what else"):
        bench.scores(in_place_editor(keeps="attachments", independent_rows=True)(by_mean))
    bench.check_restored()


SAID = Generated("said", "12", ("The capital of France is", "France is a land where"), ("Rome",), max_tokens=6)
DRIFT = Divergence("drift", "12", ("The capital of France is", "France is a land where"))


def asking(probe: Any, case_id: str = "asked") -> Program:
    """A case that asks nothing but this."""
    case = program(case_id)
    return Program(case_id, case.steps, case.states, (probe,))


@dataclass(frozen=True)
class Shift:
    """A change of somebody's own; with ``mixes`` it looks at the whole batch."""

    module: str
    by: float
    mixes: bool

    def is_finite(self) -> bool:
        return True

    def nbytes(self) -> int:
        return 8

    @classmethod
    def stack(cls, changes: Sequence[Sequence[Shift]]) -> ShiftStack:
        return ShiftStack(changes)


class ShiftStack:
    def __init__(self, changes: Sequence[Sequence[Shift]]) -> None:
        self.changes = changes

    def hook(self, rows: RowContext) -> ForwardHook | None:
        def hook(_module: Any, _args: Any, output: Any) -> Any:
            models, values = rows.split(output)
            by = [sum(change.by for change in self.changes[model]) for model in models.tolist()]
            mixes = any(change.mixes for model in models.tolist() for change in self.changes[model])
            factor = 20 * values.mean() if mixes else 1.0
            shift = torch.tensor(by, dtype=values.dtype)[:, None, None] * factor
            column = torch.arange(values.shape[-1])
            return (values + shift * (column % 2)).reshape(output.shape)

        return hook


def batched(mixes: bool) -> type:
    class Shifting:
        def __init__(self, _hyperparameters: Any, resources: Any) -> None:
            self.module = resources.host.down_projection_path(1)

        def prepare(self, progress: Any = None) -> None:
            pass

        def edit(self, jobs: Any, progress: Any = None) -> list[EditResult]:
            return [EditResult((*job.model, Shift(self.module, len(job.case_id) / 3, mixes))) for job in jobs]

    return Shifting


def test_a_change_of_ones_own_that_mixes_rows_is_an_error() -> None:
    bench = Bench()
    fine = bench.scores(batched(False), program("one"), program("another"))
    assert [answer.error for answer in fine] == [None, None]
    assert not any(answer.notes for answer in fine)
    with pytest.raises(UntrustedEditor, match="in a Change of your own, answer each row by that row alone"):
        bench.scores(batched(True), program("one"), program("another"))


@pytest.mark.parametrize(
    ("probe", "words"), [(SAID, "asked alone it says '"), (DRIFT, "asked alone it is .* nats from the base model")]
)
def test_what_is_said_and_how_far_it_drifts_is_checked_too(probe: Any, words: str) -> None:
    bench = Bench()
    fine = bench.scores(batched(False), asking(probe, "one"), asking(probe, "another"))
    assert [answer.error for answer in fine] == [None, None]
    with pytest.raises(UntrustedEditor, match=words):
        bench.scores(batched(True), asking(probe, "one"), asking(probe, "another"))


def test_attachments_say_one_row_at_a_time(rows: list[int]) -> None:
    editor = in_place_editor(keeps="attachments", independent_rows=True)(by_mean)
    (answer,) = Bench().scores(editor, asking(SAID))
    assert answer.error is None
    assert set(rows) == {1}


def test_a_shipped_change_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __init__(self, _hyperparameters: Any, resources: Any) -> None:
            self.host = resources.host

        def prepare(self, progress: Any = None) -> None:
            pass

        def edit(self, jobs: Any, progress: Any = None) -> list[EditResult]:
            d_o, d_k = self.host.matrix_shape(1)
            u = torch.ones(d_o, 1, dtype=torch.float64)
            delta = LowRankDelta(self.host.down_projection_path(1), u, torch.ones(d_k, 1, dtype=torch.float64) / 9)
            return [EditResult((*job.model, delta)) for job in jobs]

    bench, asked = Bench(), []
    from pytest_editpitfalls.engine.scoring import Scorer

    plain = Scorer.mean_log_probs

    def counted(self: Scorer, models: Any, questions: Any) -> list[float]:
        asked.append(len(questions))
        return plain(self, models, questions)

    monkeypatch.setattr(Scorer, "mean_log_probs", counted)
    (answer,) = bench.scores(Plain)
    assert answer.error is None
    assert len(asked) == 1
