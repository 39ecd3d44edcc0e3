"""Long chains: what is kept of them, and that one that was stopped goes on where it was."""

from __future__ import annotations

import gc
import os
import time
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pytest_editpitfalls.engine.chains import checkpoints
from pytest_editpitfalls.engine.chains.checkpoints import ChainFiles
from pytest_editpitfalls.engine.chains.editing import edit_programs
from pytest_editpitfalls.engine.chains.keeping import NotKeepable, as_plain
from pytest_editpitfalls.engine.chains.prefixes import prefixes_of
from pytest_editpitfalls.engine.chains.run import Run
from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.isolation import BatchDoesNotFit
from pytest_editpitfalls.engine.moments.tensor_files import read_tensors, write_tensors
from pytest_editpitfalls.engine.overlay import FoldedDelta, LowRankDelta, break_even
from pytest_editpitfalls.engine.runner import run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.program import CaseScores, EditRequest, Probe, Program, State
from tests.engine.conftest import make_forward

LABELS = ("Rome", "Paris", "Tokyo", "Russian")
STOPS = (1, 4, 12, 30)


class StepEditor:
    """One rank-one delta for each request, of the request and of how many came before; counts as an editor's state."""

    name = "steps"

    def __init__(self, forward: Forward, stop_at: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.forward, self.stop_at, self.error = forward, stop_at, error
        self.edited: list[tuple[str, int]] = []
        self.alive: list[weakref.ref[Any]] = []
        self.most_alive = 0

    def prepare(self, progress: ProgressCallback = silent) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        results = []
        for job in jobs:
            if self.stop_at is not None and job.state == self.stop_at:
                raise self.error("stopped")
            self.edited.append((job.case_id, job.step))
            results.append(EditResult((*job.model, self.delta(job)), (job.state or 0) + 1))
        progress(Progress("edit", 1, 1))
        self.most_alive = max(self.most_alive, sum(ref() is not None for ref in self.alive))
        return results

    def delta(self, job: EditJob) -> LowRankDelta:
        seed = sum(map(ord, "".join(request.sentence for request in job.requests))) + 1000 * (job.state or 0)
        generator = torch.Generator().manual_seed(seed)
        d_o, d_k = self.forward.host.matrix_shape(2)
        u, v = torch.randn(d_o, 1, generator=generator), torch.randn(d_k, 1, generator=generator)
        made = LowRankDelta(self.forward.host.down_projection_path(2), u.double() / 50, v.double() / d_k)
        self.alive.append(weakref.ref(made.u))
        return made


def chain(name: str, stops: Sequence[int] = STOPS, order: int = 0) -> Program:
    """Edits of so many subjects, asked after some of them; ``order`` turns them round."""
    count = max(stops)
    places = [(place * (2 * order + 1)) % count for place in range(count)]
    steps = tuple((EditRequest("The capital of {} is", f"Land {p}", LABELS[p % 4]),) for p in places)
    states = (State("0", ()), *(State(f"after {n}", tuple(range(n))) for n in stops))
    probes = tuple(
        Probe(f"new:{place}", state.name, (steps[place][0].question,), steps[place][0].target_new)
        for state in states
        for place in (0, len(state.steps) - 1)
        if place >= 0
    )
    return Program(name, steps, states, probes)


@pytest.fixture
def forward() -> Forward:
    return make_forward("gpt2")


def run(
    editor: StepEditor,
    programs: Sequence[Program],
    files: ChainFiles | None = None,
    progress: ProgressCallback = silent,
) -> list[CaseScores]:
    forward = editor.forward
    scorer = Scorer(forward, max_tokens=200)
    return run_batch(editor, scorer, forward.host.encoder, programs, progress, files=files)


def values(answer: CaseScores) -> list[tuple[float, ...]]:
    assert answer.error is None
    return [probe.probabilities for probe in answer.probes]


# --- what is kept -------------------------------------------------------------------------------------------------


def test_prefixes_of_ten_thousand_steps_are_as_many_objects() -> None:
    states = [State("all", tuple(range(10_000))), State("half", tuple(range(5_000))), State("other", (3, 1))]
    base, asked = prefixes_of(states)
    below = list(base.below())
    assert len(below) == 10_002
    assert [prefix.depth for prefix in below[:10_000]] == list(range(1, 10_001))
    assert asked[3, 1].steps == (3, 1)
    assert {prefix.depth for prefix in below if prefix.asked} == {10_000, 5_000, 2}


def test_of_a_chain_only_the_models_of_states_stay(forward: Forward) -> None:
    editor, program = StepEditor(forward), chain("A")
    one = Run(program)
    edit_programs(editor, [one], silent)
    assert sorted(map(len, one.models)) == [0, *STOPS]
    assert not one.results
    assert editor.edited == [("A", step + 1) for step in range(30)]


def test_the_results_of_a_branch_are_kept_until_all_branches_are_made(forward: Forward) -> None:
    program = replace(chain("A", (5,)), states=(State("x", (0, 1, 2)), State("y", (0, 1, 4)), State("z", (0, 3))))
    one = Run(replace(program, probes=()))
    editor = StepEditor(forward)
    edit_programs(editor, [one], silent)
    assert {len(model) for model in one.models.values()} == {0, 2, 3}
    assert sorted(step for _, step in editor.edited) == [1, 2, 3, 4, 5]


def test_memory_does_not_grow_with_every_edit(forward: Forward) -> None:
    count = 4 * break_even(*forward.host.matrix_shape(2))
    editor = StepEditor(forward)
    one = Run(chain("A", (count,)))
    edit_programs(editor, [one], silent)
    gc.collect()
    assert editor.most_alive <= 2 * break_even(*forward.host.matrix_shape(2))
    (model,) = [model for steps, model in one.models.items() if steps]
    assert any(isinstance(change, FoldedDelta) for change in model)


def test_a_folded_chain_scores_as_one_that_is_not(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * break_even(*forward.host.matrix_shape(2))
    programs = [chain("A", (1, 10, count)), chain("B", (1, 10, count), order=1)]
    answers = run(StepEditor(forward), programs)
    monkeypatch.setattr("pytest_editpitfalls.engine.chains.editing.folded", lambda model: model)
    for got, wanted in zip(answers, run(StepEditor(forward), programs), strict=True):
        for some, others in zip(values(got), values(wanted), strict=True):
            assert some == pytest.approx(others, rel=1e-9)


def test_orders_in_lockstep_are_each_order_alone(forward: Forward) -> None:
    programs = [chain(f"order {number}", order=number) for number in range(3)]
    editor = StepEditor(forward)
    together = run(editor, programs)
    assert editor.edited[:3] == [("order 0", 1), ("order 1", 1), ("order 2", 1)]
    for program, answer in zip(programs, together, strict=True):
        (alone,) = run(StepEditor(forward), [program])
        for some, others in zip(values(answer), values(alone), strict=True):
            assert some == pytest.approx(others, rel=1e-9)
    assert values(together[0])[-1] != values(together[1])[-1]


def test_a_chain_that_fails_stops_alone(forward: Forward) -> None:
    class Fails(StepEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            results = super().edit(jobs, progress)
            return [
                EditResult(error="it breaks") if job.case_id == "A" and job.step == 7 else each
                for job, each in zip(jobs, results, strict=True)
            ]

    first, second = run(Fails(forward), [chain("A"), chain("B")])
    assert first.error == "editor 'steps', it breaks"
    assert values(second)


def test_progress_never_runs_backwards_and_ends(forward: Forward) -> None:
    seen: list[float] = []

    def look(latest: Progress) -> None:
        if latest.stage == "edit":
            seen.append(latest.done / latest.total)

    run(StepEditor(forward), [chain("A"), chain("B", (3, 9))], progress=look)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_short_chains_have_the_very_numbers(forward: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pitfalls of two edits measure is the same bit for bit with and without what serves long chains."""
    from tests.engine.test_locate_then_edit import make

    for name in ("memit", "emmet", "pmet", "alphaedit", "r-rome"):
        found = []
        for long_chains in (True, False):
            with monkeypatch.context() as patch:
                if not long_chains:
                    patch.setattr("pytest_editpitfalls.engine.chains.editing.folded", lambda model: model)
                editor: Any = make(name, make_forward("llama"), tmp_path)
                scorer = Scorer(make_forward("llama"), max_tokens=200)
                programs = [chain("A", (1, 2)), chain("B", (1, 2, 3), order=1)]
                found.append(run_batch(editor, scorer, scorer.forward.host.encoder, programs))
        assert [values(answer) for answer in found[0]] == [values(answer) for answer in found[1]], name


# --- going on -----------------------------------------------------------------------------------------------------


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def files(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the files of a session, which save after every step."""
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 0)
    return lambda identity="tiny": ChainFiles(tmp_path / "chains", identity, torch.device("cpu"), said.append)


@pytest.mark.parametrize("stop_at", [9, 12, 13, 29])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_stopped_chain_goes_on(
    forward: Forward, files: Any, said: list[str], tmp_path: Path, stop_at: int, error: type[BaseException]
) -> None:
    programs = [chain("A"), chain("B", order=1)]
    expected = run(StepEditor(forward), programs)
    with pytest.raises(BatchDoesNotFit if error is MemoryError else error):
        run(StepEditor(forward, stop_at, error), programs, files())
    again = StepEditor(forward)
    found = run(again, programs, files())
    assert [(case, step) for case, step in again.edited if case == "A"] == [
        ("A", step + 1) for step in range(stop_at, 30)
    ]
    assert [values(answer) for answer in found] == [values(answer) for answer in expected]
    assert said == [f"{name}: the chain goes on behind edit {stop_at} of 30" for name in ("A", "B")]
    assert not list((tmp_path / "chains").iterdir())  # the cases have their scores


def test_ctrl_c_keeps_what_was_done_since_the_last_saving(
    forward: Forward, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 1000.0)
    for worth, left in ((1000.0, 30), (0.0, 30), (0.0, 15)):  # the second one is what the third goes on from
        monkeypatch.setattr(checkpoints, "WORTH_SECONDS", worth)
        editor = StepEditor(forward, None if left == 15 else 15, KeyboardInterrupt)
        if left == 15:
            run(editor, [chain("A")], files())
        else:
            with pytest.raises(KeyboardInterrupt):
                run(editor, [chain("A")], files())
        assert len(editor.edited) == 15


def test_a_folded_chain_goes_on(forward: Forward, files: Any) -> None:
    count = 3 * break_even(*forward.host.matrix_shape(2))
    program = chain("A", (10, count))
    (expected,) = run(StepEditor(forward), [program])
    with pytest.raises(KeyboardInterrupt):
        run(StepEditor(forward, count - 2, KeyboardInterrupt), [program], files())
    again = StepEditor(forward)
    (found,) = run(again, [program], files())
    assert len(again.edited) == 2
    assert values(found) == values(expected)


def test_at_most_one_file_besides_those_of_states(forward: Forward, files: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(StepEditor(forward, 20, KeyboardInterrupt), [chain("A")], files())
    assert len(list((tmp_path / "chains").iterdir())) == 1 + 3  # after 1, 4 and 12


@pytest.mark.parametrize("change", ["identity", "edit", "case"])
def test_another_chain_is_not_taken_for_it(forward: Forward, files: Any, said: list[str], change: str) -> None:
    program = chain("A")
    with pytest.raises(KeyboardInterrupt):
        run(StepEditor(forward, 20, KeyboardInterrupt), [program], files())
    if change == "edit":
        first = (EditRequest("The capital of {} is", "Land 0", "Russian"),)
        program = replace(program, steps=(first, *program.steps[1:]))
    if change == "case":  # draws are seeded by it
        program = replace(program, case_id="B")
    editor = StepEditor(forward)
    run(editor, [program], files("other" if change == "identity" else "tiny"))
    assert len(editor.edited) == 30
    assert not said


@pytest.mark.parametrize("harm", ["cut", "flipped", "renamed", "empty"])
def test_a_damaged_or_foreign_file_is_refused_in_words(
    forward: Forward, files: Any, said: list[str], tmp_path: Path, harm: str
) -> None:
    program = chain("A", (30,))
    (expected,) = run(StepEditor(forward), [program])
    with pytest.raises(KeyboardInterrupt):
        run(StepEditor(forward, 20, KeyboardInterrupt), [program], files())
    (path,) = (tmp_path / "chains").iterdir()
    content = path.read_bytes()
    if harm == "renamed":
        with pytest.raises(KeyboardInterrupt):
            run(StepEditor(forward, 11, KeyboardInterrupt), [replace(program, case_id="B")], files())
        (other,) = set((tmp_path / "chains").iterdir()) - {path}
        other.replace(path)
    else:
        middle = len(content) - 200
        flipped = content[:middle] + bytes([content[middle] ^ 0x40]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-9], "flipped": flipped, "empty": b""}[harm])
    editor = StepEditor(forward)
    (found,) = run(editor, [program], files())
    assert len(editor.edited) == 30
    assert values(found) == values(expected)
    why = "it is another chain's" if harm == "renamed" else "it is damaged"
    assert said == [f"the checkpoint {path} is not used, as {why}; what was in it is computed again"]


def test_what_no_file_holds_is_said_once(forward: Forward, files: Any, said: list[str], tmp_path: Path) -> None:
    @dataclass
    class Own:
        count: int = 0

    class Keeps(StepEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            counted = [replace(job, state=None if job.state is None else job.state.count) for job in jobs]
            return [replace(each, state=Own(each.state)) for each in super().edit(counted, progress)]

    (answer,) = run(Keeps(forward), [chain("A")], files())
    assert values(answer)
    assert said == ["a chain that is stopped starts anew: no file can hold what the editor keeps (Own)"]


def test_a_directory_that_cannot_be_written_only_costs_time(forward: Forward, files: Any, tmp_path: Path) -> None:
    (tmp_path / "chains").write_text("a file")
    (answer,) = run(StepEditor(forward), [chain("A")], files())
    assert values(answer)


def test_short_chains_leave_no_file(forward: Forward, files: Any, tmp_path: Path) -> None:
    run(StepEditor(forward), [chain("A", (1, 2))], files())
    assert not (tmp_path / "chains").exists()


class Pair(NamedTuple):
    one: int
    other: int


@pytest.mark.parametrize("value", [Pair(1, 2), OrderedDict(a=1), defaultdict(list), [Pair(1, 2)]])
def test_what_would_come_back_as_another_type_is_not_kept(value: Any) -> None:
    with pytest.raises(NotKeepable):
        as_plain(value, {})


def test_two_names_of_one_storage_are_kept(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": whole, "b": whole, "c": whole[1]}
    assert write_tensors(tmp_path / "x", tensors, {})
    found = read_tensors(tmp_path / "x", torch.device("cpu"))
    assert found is not None
    assert all(torch.equal(found[0][name], value) for name, value in tensors.items())


@pytest.mark.parametrize("error", [RuntimeError("no such\nthing"), MemoryError()])
def test_a_chain_goes_on_where_its_file_cannot_be_written(
    forward: Forward, files: Any, said: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> bool:
        raise error

    monkeypatch.setattr(checkpoints, "write_tensors", fail)
    (found,) = run(StepEditor(forward), [chain("A")], files())
    assert found.error is None
    (words,) = said
    assert f"a chain that is stopped starts anew: its file could not be written ({type(error).__name__}: " in words
    assert "\n" not in words


def test_old_files_and_half_written_ones_are_removed(forward: Forward, files: Any, tmp_path: Path) -> None:
    directory = tmp_path / "chains"
    directory.mkdir()
    day = 24 * 3600
    ages = {"a.safetensors": 15 * day, "b.safetensors": 13 * day, "c.x.tmp": day, "d.x.tmp": 60, "notes.txt": 99 * day}
    for name, age in ages.items():
        (directory / name).write_text("x")
        os.utime(directory / name, (time.time() - age,) * 2)
    run(StepEditor(forward), [chain("A")], files())
    assert {path.name for path in directory.iterdir()} == {"b.safetensors", "d.x.tmp", "notes.txt"}
