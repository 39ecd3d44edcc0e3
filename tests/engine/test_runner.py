"""One batch through its states, with an editor made for the purpose and the real scorer on a tiny model."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.isolation import ONE_BY_ONE, BatchDoesNotFit, is_out_of_memory
from pytest_editpitfalls.engine.overlay import EditedModel, LowRankDelta
from pytest_editpitfalls.engine.runner import edited_model_of, run_batch
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, HeldQuestion, State
from tests.engine import naive
from tests.engine.conftest import make_forward

BASE, ONE, BOTH, TWO = State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,))
FOUR = (BASE, ONE, BOTH, TWO)
PROMPTS = ("The capital of {} is", "{} speaks", "The mother of {} is", "In {}, the king is")
LABELS = ("Rome", "Paris", "the queen of Spain", "Tokyo", "Russian")


class FakeEditor:
    """Writes something that depends on the request and on the edited model it is written into.

    Args:
        forward: the model.
        upset: called with the jobs of every call before it edits; may raise.
    """

    name = "fake"

    def __init__(self, forward: Forward, upset: Callable[[Sequence[EditJob]], None] = lambda _: None) -> None:
        self.forward = forward
        self.upset = upset
        self.calls: list[list[EditJob]] = []

    def prepare(self, progress: ProgressCallback = silent) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        self.calls.append(list(jobs))
        progress(Progress("edit", 1, 4))
        self.upset(jobs)
        for step in (2, 3, 4):
            progress(Progress("edit", step, 4))
        return [
            EditResult((*job.model, self.delta(job.requests, job.model)), notes=(f"note {job.step}",)) for job in jobs
        ]

    def delta(self, requests: Sequence[EditRequest], before: EditedModel) -> LowRankDelta:
        digest = hashlib.sha256(repr(requests).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        d_o, d_k = self.forward.host.matrix_shape(2)
        u = torch.randn(d_o, 1, generator=generator, dtype=torch.float64)
        v = torch.randn(d_k, 1, generator=generator, dtype=torch.float64) / d_k**0.5
        for delta in before:
            u = u + 0.5 * delta.u
        return LowRankDelta(self.forward.host.down_projection_path(2), u, v)

    @property
    def written(self) -> list[tuple[str, int, int]]:
        """(case, step, edits written before) of every job, in the order of the calls."""
        return [(job.case_id, job.step, len(job.model)) for jobs in self.calls for job in jobs]


def program(
    number: int,
    states: Sequence[State] = FOUR,
    *,
    target: str | None = None,
    held: Sequence[HeldQuestion] = (),
) -> Program:
    """A case with two edits and probes in all its states; every number gives another case."""
    subject = ("France", "Danielle Darrieux", "the king")[number % 3]
    prompt, label = PROMPTS[number % 4], LABELS[number % 5]
    steps = (
        (EditRequest(prompt, subject, label),),
        (EditRequest(PROMPTS[(number + 1) % 4], subject, LABELS[(number + 2) % 5]),),
    )
    asked = (prompt.replace("{}", subject), f"It is said that {subject}")
    probes = tuple(
        Probe(fact, state.name, asked if fact == "old" else asked[:1], text)
        for state in states
        for fact, text in (("old", label if target is None else target), ("tied", LABELS[(number + 3) % 5]))
    )
    return Program(f"P{number:04}", steps, tuple(states), probes, tuple(held))


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frees memory after running out of it; here that only costs time."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.fixture
def forward() -> Forward:
    return make_forward("gpt2")


def run(editor: FakeEditor, programs: Sequence[Program], progress: ProgressCallback = silent) -> list[CaseScores]:
    forward = editor.forward
    return run_batch(editor, Scorer(forward, max_tokens=200), forward.host.encoder, programs, progress)


def same(a: CaseScores, b: CaseScores) -> bool:
    """Equal up to rounding and time."""
    if (a.case_id, a.held_parts, a.error, a.skipped, a.notes) != (b.case_id, b.held_parts, b.error, b.skipped, b.notes):
        return False
    if [(p.fact, p.state, len(p.probabilities)) for p in a.probes] != [
        (p.fact, p.state, len(p.probabilities)) for p in b.probes
    ]:
        return False
    pairs = zip(a.probes, b.probes, strict=True)
    values = [pair for p, q in pairs for pair in zip(p.probabilities, q.probabilities, strict=True)]
    return all(math.isclose(x, y, rel_tol=1e-8) for x, y in values)


# States


def test_each_needed_prefix_is_computed_once(forward: Forward) -> None:
    editor = FakeEditor(forward)
    answers = run(editor, [program(0), program(1, (BASE, BOTH)), program(2, (BASE,)), program(3, (ONE, TWO))])
    assert all(answer.error is None for answer in answers)
    # One call a level, all cases together; "2" is written into the base model, "12" on top of edit 1.
    assert [[(job.case_id, job.step, len(job.model)) for job in jobs] for jobs in editor.calls] == [
        [("P0000", 1, 0), ("P0000", 2, 0), ("P0001", 1, 0), ("P0003", 1, 0), ("P0003", 2, 0)],
        [("P0000", 2, 1), ("P0001", 2, 1)],
    ]
    for job in itertools.chain(*editor.calls):
        number = int(job.case_id[1:])
        assert job.requests == program(number).steps[job.step - 1]


def test_every_state_is_answered_by_its_own_edited_model(forward: Forward) -> None:
    """Against weights changed in place, with the deltas computed one by one."""
    host, editor, programs = forward.host, FakeEditor(forward), [program(0), program(1)]
    answers = run(editor, programs)
    weight = host.down_projection(2).weight.clone()
    for case, answer in zip(programs, answers, strict=True):
        one = editor.delta(case.steps[0], ())
        models = {"0": (), "1": (one,), "12": (one, editor.delta(case.steps[1], (one,)))}
        models["2"] = (editor.delta(case.steps[1], ()),)
        seen = set()
        for probe, score in zip(case.probes, answer.probes, strict=True):
            assert (probe.fact, probe.state) == (score.fact, score.state)
            updates = [(delta.module, delta.u @ delta.v.T) for delta in models[probe.state]]
            with naive.in_place(host.model, updates, transposed=True):
                wanted = [
                    math.exp(naive.mean_log_prob(host.model, host.tokenizer, prompt, probe.target))
                    for prompt in probe.prompts
                ]
            assert score.probabilities == pytest.approx(wanted, rel=1e-8)
            seen.add(round(math.log(score.probabilities[0]), 4))
        assert len(seen) == len(case.probes), "two states or facts gave the same probability"
    assert torch.equal(host.down_projection(2).weight, weight)


def test_summed_log_probabilities_come_back_from_the_answers(forward: Forward) -> None:
    """Any normalisation can be computed from a stored run: of an object of several tokens, too."""
    host = forward.host
    (answer,) = run(FakeEditor(forward), [program(0, (BASE,), target="Rome and the king of France")])
    for probe, score in zip(
        program(0, (BASE,), target="Rome and the king of France").probes, answer.probes, strict=True
    ):
        tokens = len(host.tokenizer(f" {probe.target}", add_special_tokens=False)["input_ids"])
        assert score.tokens == tokens
        wanted = [
            tokens * naive.mean_log_prob(host.model, host.tokenizer, prompt, probe.target) for prompt in probe.prompts
        ]
        assert score.log_probabilities == pytest.approx(wanted, rel=1e-8)
    assert max(score.tokens or 0 for score in answer.probes) > 1


def test_answers_come_in_the_programs_order(forward: Forward) -> None:
    programs = [program(number) for number in (3, 0, 2, 1)]
    answers = run(FakeEditor(forward), programs)
    assert [answer.case_id for answer in answers] == ["P0003", "P0000", "P0002", "P0001"]
    for case, answer in zip(programs, answers, strict=True):
        assert same(answer, run(FakeEditor(forward), [case])[0])


def test_two_programs_of_one_id_are_two_cases(forward: Forward) -> None:
    twin = Program("P0000", program(1).steps, program(1).states, program(1).probes)
    first, second = run(FakeEditor(forward), [program(0), twin])
    assert same(first, run(FakeEditor(forward), [program(0)])[0])
    assert same(second, run(FakeEditor(forward), [twin])[0])
    assert first.probes != second.probes


def test_an_empty_batch(forward: Forward) -> None:
    editor = FakeEditor(forward)
    assert run(editor, []) == []
    assert editor.calls == []


def test_a_program_without_probes(forward: Forward) -> None:
    (answer,) = run(FakeEditor(forward), [Program("P", program(0).steps, FOUR, ())])
    assert (answer.probes, answer.held, answer.error) == ((), None, None)


def test_notes_and_seconds(forward: Forward) -> None:
    answers = run(FakeEditor(forward), [program(0), program(1)])
    assert answers[0].notes == ("note 1", "note 2")  # each remark once, although edit 2 is written twice
    assert answers[0].seconds > 0
    assert answers[0].seconds == pytest.approx(sum(answers[0].timings.values()))
    assert set(answers[0].timings) == {"edit", "score"}


# Held facts


def test_held_is_true_false_or_unknown(forward: Forward) -> None:
    host = forward.host
    prompt = "The capital of France is"
    order = sorted(
        LABELS, key=lambda label: naive.mean_log_prob(host.model, host.tokenizer, prompt, label), reverse=True
    )
    best = HeldQuestion("edit1", (prompt,), order[0], tuple(order[1:]))
    second = HeldQuestion("tied", (prompt,), order[1], (order[2], order[0]))
    without_rivals = HeldQuestion("edit1", (prompt,), order[-1], ())
    asked = [(best,), (second,), (best, second), (best, replace(best, name="tied")), (), (without_rivals,)]
    programs = [program(number, (BASE, ONE), held=held) for number, held in enumerate(asked)]
    answers = run(FakeEditor(forward), programs)
    assert [answer.held for answer in answers] == [True, False, False, True, None, True]
    assert answers[2].held_parts == {"edit1": True, "tied": False}
    # The questions stand among the probes: neither takes the other's answers.
    for case, answer in zip(programs, answers, strict=True):
        bare = Program(case.case_id, case.steps, case.states, case.probes)
        (alone,) = run(FakeEditor(forward), [bare])
        assert alone.held is None
        assert same(alone, replace(answer, held_parts={}))


def test_an_object_that_cannot_be_written_leaves_held_unknown(forward: Forward) -> None:
    """No metric needs the object of the fact that was edited away, so the case is run all the same."""
    question = HeldQuestion("edit1", ("The king",), " ", ("Rome",))
    (answer,) = run(FakeEditor(forward), [program(0, held=[question])])
    assert (answer.error, answer.skipped, answer.held) == (None, None, None)
    assert answer.probes
    assert "held is unknown" in answer.notes[-1]


def test_a_tie_is_not_held(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = forward.host.encoder
    target = encoder.target
    # as a tokenizer that normalises writes labels that differ in their code points
    monkeypatch.setattr(encoder, "target", lambda label, joiner=" ": target(label.replace("twin", "Rome"), joiner))
    question = HeldQuestion("edit1", ("The capital of France is",), "Rome", ("twin",))
    assert run(FakeEditor(forward), [program(0, held=[question])])[0].held is False


def test_what_stands_between_prompt_and_target_is_scored_and_edited(forward: Forward) -> None:
    """The same label with and without a space is another target; each is asked as the naive code asks it."""
    host, prompt, label = forward.host, "The king speaks:", "Russian"
    case = program(0, states=(BASE,))
    probes = [Probe("fact", "0", (prompt,), label, joiner=joiner) for joiner in (" ", "")]
    questions = [
        HeldQuestion(name, (prompt,), label, ("Rome", "Tokyo"), scores=scores, joiner=joiner)
        for name, scores, joiner in (("brief", ("mean",), ""), ("long", ("mean", "sum"), ""))
    ]
    (answer,) = run(FakeEditor(forward), [replace(case, probes=tuple(probes), held=tuple(questions))])
    assert answer.error is None

    def naively(text: str) -> float:
        start = host.tokenizer(prompt)["input_ids"]
        ids = host.tokenizer(prompt + text)["input_ids"]
        assert ids[: len(start)] == start
        with torch.no_grad():
            found = host.model(torch.tensor([ids])).logits[0].double().log_softmax(dim=1)
        return math.exp(
            sum(float(found[at - 1, ids[at]]) for at in range(len(start), len(ids))) / (len(ids) - len(start))
        )

    for probe, wanted in zip(answer.probes, (naively(f" {label}"), naively(label)), strict=True):
        assert probe.probabilities[0] == pytest.approx(wanted, rel=1e-5)
    assert answer.held_parts["brief"] == (naively(label) > max(naively("Rome"), naively("Tokyo")))
    assert answer.held_parts["long"] in (True, False)


# Cases that cannot be asked


@pytest.mark.parametrize("where", ["probe", "edit"])
def test_an_unscorable_label_is_skipped_before_any_edit(where: str, forward: Forward) -> None:
    case = program(1)
    if where == "probe":
        case = program(1, target="  ")
    else:
        steps = (case.steps[0], (EditRequest("{} is", "France", ""),))
        case = Program(case.case_id, steps, case.states, case.probes)
    editor = FakeEditor(forward)
    good, skipped, other = run(editor, [program(0), case, program(2)])
    assert "has no tokens" in (skipped.skipped or "")
    assert (skipped.error, skipped.probes, skipped.held, skipped.seconds) == (None, (), None, 0.0)
    assert not [job for job in editor.written if job[0] == skipped.case_id]
    assert same(good, run(FakeEditor(forward), [program(0)])[0])
    assert same(other, run(FakeEditor(forward), [program(2)])[0])


def test_only_unscorable_cases_need_no_editor(forward: Forward) -> None:
    editor = FakeEditor(forward)
    (answer,) = run(editor, [program(0, target="")])
    assert answer.skipped
    assert editor.calls == []


def test_a_rival_that_the_tokenizer_cannot_write_is_no_rival(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = forward.host.encoder
    target = encoder.target

    def known(label: str, joiner: str = " ") -> tuple[int, ...]:
        if label == "日本":
            raise UnscorableCase("the target '日本' has no tokens")
        return target(label, joiner)

    monkeypatch.setattr(encoder, "target", known)
    question = HeldQuestion("edit1", ("The capital of France is",), "Rome", ("日本",))
    (answer,) = run(FakeEditor(forward), [program(0, held=[question])])
    assert (answer.held, answer.error, answer.skipped) == (True, None, None)


# Cases that break


def fails_on(case_id: str, step: int, error: BaseException) -> Callable[[Sequence[EditJob]], None]:
    def upset(jobs: Sequence[EditJob]) -> None:
        if any((job.case_id, job.step) == (case_id, step) for job in jobs):
            raise error

    return upset


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("the sky fell"), "RuntimeError: the sky fell"),
        (CaseError("it diverged", fix="try less"), "it diverged\n  fix: try less"),
        (UnscorableCase("no tokens"), "no tokens"),
        (ValueError(""), "ValueError: "),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_one_raising_case_errors_alone(step: int, error: Exception, words: str, forward: Forward) -> None:
    programs = [program(0), program(1), program(2)]
    answers = run(FakeEditor(forward, fails_on("P0001", step, error)), programs)
    assert answers[1].error == f"editor 'fake', edit {step}: {words}"
    assert (answers[1].probes, answers[1].held, answers[1].skipped) == ((), None, None)
    for index in (0, 2):
        assert same(answers[index], run(FakeEditor(forward), [programs[index]])[0])


def test_a_case_that_broke_is_not_edited_any_further(forward: Forward) -> None:
    editor = FakeEditor(forward, fails_on("P0001", 1, RuntimeError("no")))
    run(editor, [program(0), program(1)])
    assert [job for job in editor.written if job[2] == 1] == [("P0000", 2, 1)]


def test_an_editors_own_error_result(forward: Forward) -> None:
    class Declining(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            results = super().edit(jobs, progress)
            return [
                EditResult(error=f"edit {job.step}: it does not like {job.case_id}")
                if job.case_id == "P0001"
                else result
                for job, result in zip(jobs, results, strict=True)
            ]

    good, bad = run(Declining(forward), [program(0), program(1)])
    assert bad.error == "editor 'fake', edit 1: it does not like P0001"  # the first mistake, not the last
    assert same(good, run(FakeEditor(forward), [program(0)])[0])


def test_an_editor_that_forgets_jobs_is_an_error_of_its_cases(forward: Forward) -> None:
    class Forgetful(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            return super().edit(jobs, progress)[:-1]

    answers = run(Forgetful(forward), [program(0), program(1), program(2, (BASE,))])
    for answer in answers[:2]:
        assert "edit 1: " in (answer.error or "")
        assert "0 results for 1 job" in (answer.error or "")
    assert answers[2].error is None


def test_a_batch_that_fails_although_each_case_works_says_so(forward: Forward) -> None:
    """Else a mistake in an editor's batches would be seen as slowness only."""

    def together(jobs: Sequence[EditJob]) -> None:
        if len(jobs) > 1:
            raise ValueError("shapes differ")

    answers = run(FakeEditor(forward, together), [program(0), program(1)])
    plain = run(FakeEditor(forward), [program(0), program(1)])
    for answer, expected in zip(answers, plain, strict=True):
        assert answer.notes == (f"editing was {ONE_BY_ONE}: ValueError: shapes differ", *expected.notes)
        assert same(replace(answer, notes=expected.notes), expected)
    broken = run(FakeEditor(forward, fails_on("P0001", 1, ValueError("mine"))), [program(0), program(1)])
    assert not any(ONE_BY_ONE in note for answer in broken for note in answer.notes)


def test_a_usage_error_concerns_the_whole_run(forward: Forward) -> None:
    editor = FakeEditor(forward, fails_on("P0001", 1, UsageError("the second moment is singular")))
    with pytest.raises(UsageError, match="singular"):
        run(editor, [program(0), program(1)])


def test_an_interrupt_is_not_swallowed(forward: Forward) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(FakeEditor(forward, fails_on("P0001", 1, KeyboardInterrupt())), [program(0), program(1)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 2])
def test_a_delta_that_is_not_finite_is_an_error(step: int, value: float, forward: Forward) -> None:
    class Diverging(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            results = super().edit(jobs, progress)
            for job, result in zip(jobs, results, strict=True):
                if (job.case_id, job.step) == ("P0001", step):
                    result.model[0].u[0] = value
            return results

    editor = Diverging(forward)
    good, bad, other = run(editor, [program(0), program(1), program(2)])
    module = forward.host.down_projection_path(2)
    assert bad.error == f"editor 'fake', edit {step}: the update of '{module}' is not finite (NaN or infinity)"
    assert (bad.probes, bad.held) == ((), None)
    assert ("P0001", 2, 1) not in editor.written, "edit 2 was computed in a broken model"
    assert same(good, run(FakeEditor(forward), [program(0)])[0])
    assert same(other, run(FakeEditor(forward), [program(2)])[0])


def test_probabilities_that_are_not_finite_are_an_error(forward: Forward) -> None:
    """A finite but huge delta overflows inside the model: its neighbours in the batch do not notice."""

    class Exploding(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            results = super().edit(jobs, progress)
            for job, result in zip(jobs, results, strict=True):
                if (job.case_id, job.step) == ("P0001", 1):
                    result.model[0].u.mul_(1e200)
            return results

    good, bad, other = run(Exploding(forward), [program(0), program(1), program(2)])
    assert "probabilities are not finite" in (bad.error or "")
    assert (bad.probes, bad.held) == ((), None)
    assert same(good, run(FakeEditor(forward), [program(0)])[0])
    assert same(other, run(FakeEditor(forward), [program(2)])[0])


class FailingScorer(Scorer):
    """Raises where a model's or question's number is too high."""

    def __init__(self, forward: Forward, most: int, error: Exception) -> None:
        super().__init__(forward, max_tokens=200)
        self.most, self.error, self.sizes = most, error, list[int]()

    def mean_log_probs(self, models: Sequence[EditedModel], questions: Sequence[Question]) -> list[float]:
        self.sizes.append(len(questions))
        if len(questions) > self.most:
            raise self.error
        return super().mean_log_probs(models, questions)


def test_a_case_whose_scoring_raises_errors_alone(forward: Forward) -> None:
    big = program(1)
    probes = big.probes + tuple(Probe(f"other:{i}", "1", ("The king",), "Rome") for i in range(20))
    programs = [program(0), Program(big.case_id, big.steps, big.states, probes), program(2)]
    scorer = FailingScorer(forward, 20, RuntimeError("no kernel"))
    answers = run_batch(FakeEditor(forward), scorer, forward.host.encoder, programs)
    assert answers[1].error == "scoring: RuntimeError: no kernel"
    for index in (0, 2):
        assert same(answers[index], run(FakeEditor(forward), [programs[index]])[0])


# Memory


OUT: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]


def at_most(jobs_that_fit: int, error: Exception) -> Callable[[Sequence[EditJob]], None]:
    def upset(jobs: Sequence[EditJob]) -> None:
        if len(jobs) > jobs_that_fit:
            raise error

    return upset


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_says_so(error: Exception, forward: Forward) -> None:
    """Who runs it makes it smaller: see test_batch_size.py."""
    programs = [program(number, (BASE, BOTH)) for number in range(4)]
    editor = FakeEditor(forward, at_most(2, error))
    with pytest.raises(BatchDoesNotFit):
        run(editor, programs)
    assert [len(jobs) for jobs in editor.calls] == [4]
    assert all(map(same, run(editor, programs[:2]), run(FakeEditor(forward), programs[:2])))


def test_scoring_that_does_not_fit_says_so(forward: Forward) -> None:
    programs = [program(number) for number in range(2)]
    scorer = FailingScorer(forward, 20, OUT[0])
    with pytest.raises(BatchDoesNotFit):
        run_batch(FakeEditor(forward), scorer, forward.host.encoder, programs)


def test_the_steps_of_a_single_case_are_computed_one_by_one(forward: Forward) -> None:
    editor = FakeEditor(forward, at_most(1, OUT[0]))
    (answer,) = run(editor, [program(0)])
    assert [len(jobs) for jobs in editor.calls] == [2, 1, 1, 1]
    assert same(answer, run(FakeEditor(forward), [program(0)])[0])


def test_a_single_case_that_does_not_fit_is_an_error(forward: Forward) -> None:
    (answer,) = run(FakeEditor(forward, at_most(0, OUT[0])), [program(2, (BASE, ONE))])
    assert answer.error is not None
    assert answer.error.startswith("editor 'fake', edit 1: OutOfMemoryError: CUDA out of memory")


def test_what_counts_as_out_of_memory() -> None:
    assert all(map(is_out_of_memory, OUT))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15, dtype=torch.float64)
    assert is_out_of_memory(caught.value)


# Progress


class Watcher:
    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)

    def check(self) -> None:
        """Per stage never backwards, never beyond the end, and complete at the end."""
        for stage in {progress.stage for progress in self.seen}:
            shares = [p.done / p.total for p in self.seen if p.stage == stage]
            assert shares == sorted(shares), (stage, shares)
            assert shares[0] >= 0
            assert shares[-1] == 1


def test_progress_goes_through_both_levels(forward: Forward) -> None:
    watcher = Watcher()
    run(FakeEditor(forward), [program(0), program(1)], watcher)
    watcher.check()
    assert [(p.done, p.total) for p in watcher.seen if p.stage == "edit"] == [(i, 8) for i in range(1, 9)]
    assert [p.stage for p in watcher.seen[-2:]] == ["score", "score"]


@pytest.mark.parametrize(
    "upset",
    [at_most(1, RuntimeError("not together")), fails_on("P0001", 2, RuntimeError("no"))],
    ids=["one by one", "one broken"],
)
def test_progress_never_runs_backwards(upset: Callable[[Sequence[EditJob]], None], forward: Forward) -> None:
    watcher = Watcher()
    run(FakeEditor(forward, upset), [program(number) for number in range(5)], watcher)
    watcher.check()


def test_progress_of_requests_that_are_written_in_turn(forward: Forward) -> None:
    """ROME counts its steps anew for each of the requests that are written together."""

    class InTurn(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            super().edit(jobs, progress)
            return super().edit(jobs, progress)

    watcher = Watcher()
    run(InTurn(forward), [program(0)], watcher)
    watcher.check()


def test_other_stages_of_the_editor_are_passed_on(forward: Forward) -> None:
    class Preparing(FakeEditor):
        def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
            progress(Progress("second moment", 7, 10))
            return super().edit(jobs, progress)

    watcher = Watcher()
    run(Preparing(forward), [program(0)], watcher)
    assert Progress("second moment", 7, 10) in watcher.seen


# One state alone


def test_the_edited_model_of_one_state(forward: Forward) -> None:
    case = program(0)
    for name, written in {"0": 0, "1": 1, "12": 2, "2": 1}.items():
        editor = FakeEditor(forward)
        deltas = edited_model_of(editor, case, name)
        assert len(deltas) == len(editor.written) == written, "more was computed than the state needs"
    one = edited_model_of(FakeEditor(forward), case, "1")
    both = edited_model_of(FakeEditor(forward), case, "12")
    assert torch.equal(one[0].u, both[0].u)
    assert torch.equal(both[1].u, FakeEditor(forward).delta(case.steps[1], one).u)


def test_an_unknown_state(forward: Forward) -> None:
    with pytest.raises(UsageError, match="no state '21'") as caught:
        edited_model_of(FakeEditor(forward), program(0), "21")
    assert caught.value.where == "P0000"
    assert "did you mean" in (caught.value.fix or "") or "12" in (caught.value.fix or "")


def test_a_state_that_cannot_be_computed(forward: Forward) -> None:
    editor = FakeEditor(forward, fails_on("P0000", 2, RuntimeError("no")))
    assert len(edited_model_of(editor, program(0), "1")) == 1
    with pytest.raises(CaseError, match="edit 2: RuntimeError: no") as caught:
        edited_model_of(editor, program(0), "12")
    assert caught.value.where == "P0000"
