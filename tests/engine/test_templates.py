"""An editor that takes a prompt for filled, when it is not, must not teach the model two braces."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from pytest_editpitfalls.editors import EditResult, in_place_editor
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest, Program
from tests.engine.test_in_place import STATES, Bench, by_gradient, program


def tune(model: Any, tokenizer: Any, prompt: str, new: str) -> Any:
    return by_gradient(model, tokenizer, [{"prompt": "{}", "subject": prompt, "target_new": new}])


def naive(model: Any, tokenizer: Any, requests: Any) -> Any:
    """As EasyEdit's FT: prompt and target as they are."""
    return tune(model, tokenizer, requests[0]["prompt"], requests[0]["target_new"])


def test_a_literal_place_is_named() -> None:
    bench = Bench()
    (answer,) = bench.scores(naive)
    assert answer.error is not None
    assert "edit 1: it tokenised a prompt with a literal '{}': 'The capital of {} is'" in answer.error
    assert "declare @in_place_editor(prompts='filled')" in answer.error
    assert not answer.probes
    bench.check_restored()


@pytest.mark.parametrize("way", ["list", "keyword", "encode", "tokenize", "another tokenizer"])
def test_whichever_way_it_goes_to_the_tokenizer(way: str) -> None:
    def edit(model: Any, tokenizer: Any, requests: Any) -> Any:
        text = requests[0]["prompt"]
        if way == "list":
            tokenizer([text, "x"])
        elif way == "keyword":
            tokenizer(text=[text])
        elif way == "another tokenizer":
            copy.deepcopy(tokenizer)(text)
        elif way == "encode":
            tokenizer.encode(text)
        else:
            tokenizer.tokenize(text)
        return tune(model, tokenizer, "x", "y")

    (answer,) = Bench().scores(edit)
    assert "a literal '{}'" in (answer.error or "")


def test_declared_prompts_come_filled() -> None:
    seen: list[str] = []

    @in_place_editor(prompts="filled")
    def edit(model: Any, tokenizer: Any, requests: Any) -> Any:
        seen.append(requests[0]["prompt"])
        return naive(model, tokenizer, requests)

    bench = Bench()
    (answer,) = bench.scores(edit)
    assert answer.error is None
    assert seen[0] == "The capital of France is"
    (other,) = bench.scores(by_gradient)  # fills them itself
    assert [probe.probabilities for probe in answer.probes] == [probe.probabilities for probe in other.probes]


def test_a_template_on_purpose() -> None:
    (answer,) = Bench().scores(in_place_editor(prompts="template")(naive))
    assert answer.error is None


def test_braces_of_another_text_and_a_pickled_tokenizer() -> None:
    def edit(model: Any, tokenizer: Any, requests: Any) -> Any:
        tokenizer("\\frac{}{} of Wikipedia")
        assert pickle.loads(pickle.dumps(tokenizer))("a")["input_ids"]
        return by_gradient(model, tokenizer, requests)

    (answer,) = Bench().scores(edit)
    assert answer.error is None


def test_a_subject_with_braces_is_no_mistake() -> None:
    first = (EditRequest("The capital of {} is", "{}", "Rome", "Paris", "P36"),)
    plain = program()
    (answer,) = Bench().scores(by_gradient, Program("braces", (first, plain.steps[1]), STATES, plain.probes))
    assert answer.error is None


def test_an_unknown_form() -> None:
    with pytest.raises(UsageError, match="write 'filled' or 'template'"):
        in_place_editor(prompts="full")  # type: ignore[arg-type]


@pytest.mark.parametrize("declared", [None, "template"])
def test_a_batched_editor_that_encodes_a_template(declared: str | None) -> None:
    class Careless:
        prompts = declared

        def __init__(self, _hyperparameters: Any, resources: Any) -> None:
            self.host = resources.host

        def prepare(self, progress: Any = None) -> None:
            pass

        def edit(self, jobs: Any, progress: Any = None) -> list[EditResult]:
            for job in jobs:
                self.host.encoder.prompt(job.requests[0].prompt)
            return [EditResult(job.model) for job in jobs]

    bench = Bench()
    answers = bench.scores(Careless, program("one"), program("another"))
    for answer in answers:
        if declared is None:
            assert "it tokenised a prompt with a literal '{}': 'The capital of {} is'" in (answer.error or "")
            assert "encode request.question" in (answer.error or "")
        else:
            assert answer.error is None
    assert type(bench.tokenizer).__qualname__ == type(bench.tokenizer).__name__
