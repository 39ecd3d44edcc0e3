"""What users are told of a wrong value is in their words, and not in those of the library that checks it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import pytest_editpitfalls
from pytest_editpitfalls.engine.editors.resolution import check_given
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.validation import usage_error

ROOMS = ("cases", "comparison", "edit_lists", "knowledge", "pitfalls", "results", "store", "suites", "verdicts")
WRONG: tuple[Any, ...] = (None, True, -1, 2.5, "", "x y", "x" * 9999, [], [1, None], {}, {"a": 1}, [{"a": []}], 1e400)
JARGON = re.compile(
    r"input should|should (be|have|match)|valid (tuple|string|integer|number|list|dict\w*|boolean|decimal)|pattern|"
    r"value_error|value error|\^\[|\\[dw]|instance of|unable to parse|pydantic|nonetype|keyword|function-|constrained-|"
    r"dictionary|\btuple\b|validation error|\btype=|no value that is allowed",
    re.IGNORECASE,
)


def models() -> list[type[BaseModel]]:
    """Every model of the rooms that read what users write or name."""
    for room in ROOMS:
        package = importlib.import_module(f"pytest_editpitfalls.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    known, left = {}, [BaseModel]
    while left:
        for each in left.pop().__subclasses__():
            left.append(each)
            if each.__module__.split(".")[:2] in [["pytest_editpitfalls", room] for room in ROOMS]:
                known[f"{each.__module__}.{each.__qualname__}"] = each
    return [known[name] for name in sorted(known)]


def messages(model: type[BaseModel], values: dict[str, Any]) -> list[str]:
    """What is said of wrong values of a model, read from Python and from JSON."""
    text = json.dumps(values)
    wrong = [_wrong(lambda: model.model_validate(values)), _wrong(lambda: model.model_validate_json(text))]
    return [str(usage_error(each, "suite.toml", model)) for each in wrong if each is not None]


def _wrong(read: Callable[[], object]) -> ValidationError | None:
    try:
        read()
    except ValidationError as error:
        return error
    return None


def test_no_field_of_any_model_is_spoken_of_in_jargon() -> None:
    found = models()
    assert len(found) > 40
    told: dict[str, str] = {}
    for model in found:
        for name, field in model.model_fields.items():
            for wrong in WRONG:
                for said in messages(model, {field.alias or name: wrong}):
                    told.setdefault(
                        re.sub(r"\(found .*", "", said, flags=re.DOTALL), f"{model.__name__}.{name}={wrong!r:.30}"
                    )
    assert len(told) > 150
    assert {said: where for said, where in told.items() if JARGON.search(said)} == {}


@pytest.mark.parametrize("editor", [each.name for each in shipped_editors()])
def test_no_hyper_parameter_is_spoken_of_in_jargon(editor: str) -> None:
    kind = next(each for each in shipped_editors() if each.name == editor).hyperparameter_class()
    for name in kind.model_fields:
        for wrong in WRONG:
            said = ""
            try:
                check_given(editor, kind, "gpt2", {name: wrong})
            except UsageError as error:
                said = str(error).partition("  fix:")[0].replace(repr(wrong), "")
            assert not JARGON.search(said), (name, wrong)


class Example(BaseModel):
    """A model with what ours have, and a union."""

    model_config = ConfigDict(extra="forbid", strict=True)

    way: str | int = "a"
    list: int = 3
    choice: str = Field(default="a", pattern="^[0-9a-f]{64}$")
    many: tuple[int, ...] = Field(default=(1,), min_length=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"way": 2.5}, "suite.toml, field way: this has to be a text or a whole number (found 2.5)"),
        ({"list": "x"}, "suite.toml, field list: this has to be a whole number (found 'x')"),
        ({"choice": "abc"}, "suite.toml, field choice: this has to be 64 hexadecimal digits (found 'abc')"),
        ({"many": 3}, "suite.toml, field many: this has to be a list (found 3)"),
        ({"many": ()}, "suite.toml, field many: this has to have at least 1 item (found ())"),
        ({"many": (1, "x")}, "suite.toml, field many.1: this has to be a whole number (found 'x')"),
    ],
)
def test_the_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Example.model_validate(values)
    assert str(usage_error(raised.value, "suite.toml", Example)).splitlines()[0] == words


def test_every_pattern_has_words() -> None:
    from pytest_editpitfalls.validation import _PATTERNS

    source = Path(pytest_editpitfalls.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in source.rglob("*.py") if path.name != "validation.py"]
    used = {found for text in texts for found in re.findall(r"\bpattern=r?\"([^\"]+)\"", text)}
    assert used
    assert used <= set(_PATTERNS)
