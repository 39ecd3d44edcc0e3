"""A long chain in a session: stopped in the middle, and taken up by another one, with editors that ship."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pytest_editpitfalls.editors import in_place_editor
from pytest_editpitfalls.engine.chains import checkpoints
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.ft.editor import Ft
from pytest_editpitfalls.engine.models import CACHE_VARIABLE
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, Progress, silent
from pytest_editpitfalls.program import CaseScores
from tests.engine.test_chains import chain
from tests.tiny_models import save_tiny

COMMON = {"v_num_grad_steps": "3", "v_lr": "0.1", "context_template_length_params": "[[6, 3]]", "mom2_tokens": "1400"}
TABLES = {
    "rome": COMMON | {"layers": "[1]"},
    "alphaedit": COMMON | {"layers": "[0, 2]", "nullspace_threshold": "0.3"},
    "ft": {"layers": "[1]", "num_steps": "2", "lr": "0.001"},
    "grace": {"n_iter": "3"},
    "lora": {"num_steps": "2"},
    "wise": {"n_iter": "2"},
}
EDITS = 40
"""Past break-even of the tiny model, and past the keys that AlphaEdit keeps as they are."""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], EngineSession]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    save_tiny(tmp_path / "tiny", "llama")
    settings = EngineSettings(str(tmp_path / "tiny"), batch_size=2, overrides=TABLES)
    return lambda said: EngineSession.open(settings, said.append)


def source() -> str:
    """Digest of the code, as it is handed down to the engine."""
    return "source"


def values(answers: list[CaseScores]) -> list[list[tuple[float, ...]]]:
    assert [answer.error for answer in answers] == [None] * len(answers)
    return [[probe.probabilities for probe in answer.probes] for answer in answers]


@pytest.mark.parametrize("editor", ["rome", "alphaedit", "ft", "lora", "grace", "wise"])
def test_another_session_goes_on_where_one_was_stopped(
    editor: str, opened: Callable[[list[str]], EngineSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 0)
    programs = [chain("A", (1, 10, EDITS)), chain("B", (1, 10, EDITS), order=1)]
    expected = values(opened([]).run(editor, programs))

    def stop(latest: Progress) -> None:
        if latest.stage == "edit" and latest.done >= 0.9 * latest.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened([]).run(editor, programs, stop, identity=source)
    assert list((tmp_path / "cache" / "chains").iterdir())
    said: list[str] = []
    again = opened(said)
    steps: list[int] = []
    inner = again.editors.get(editor)
    edit = inner.edit

    def counted(jobs, progress=silent):  # type: ignore[no-untyped-def]
        steps.extend(job.step for job in jobs)
        return edit(jobs, progress)

    monkeypatch.setattr(inner, "edit", counted)
    found = values(again.run(editor, programs, identity=source))
    assert found == expected
    assert 0 < len(steps) <= 2 * 6
    assert min(steps) > 30
    goes_on = [text for text in said if "the chain goes on behind edit" in text]
    assert [text.split(":")[0] for text in goes_on] == [editor, editor]
    assert not list((tmp_path / "cache" / "chains").iterdir())


def test_other_hyperparameters_are_another_chain(
    opened: Callable[[list[str]], EngineSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    programs = [chain("A", (1, 12))]

    def stop(latest: Progress) -> None:
        if latest.stage == "edit" and latest.done >= 0.9 * latest.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened([]).run("rome", programs, stop, identity=source)
    said: list[str] = []
    tables = TABLES | {"rome": TABLES["rome"] | {"v_lr": "0.2"}}
    settings = EngineSettings(str(tmp_path / "tiny"), batch_size=2, overrides=tables)
    values(EngineSession.open(settings, said.append).run("rome", programs, identity=source))
    assert not [text for text in said if "goes on" in text]


@pytest.mark.parametrize(("first", "second"), [("source", "other source"), (None, None), ("source", None)])
def test_another_source_is_another_chain_and_an_unknown_one_has_no_files(
    opened: Callable[[list[str]], EngineSession],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str | None,
    second: str | None,
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    programs = [chain("A", (1, 12))]

    def stop(latest: Progress) -> None:
        if latest.stage == "edit" and latest.done >= 0.9 * latest.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened([]).run("ft", programs, stop, identity=lambda: first)
    directory = tmp_path / "cache" / "chains"
    assert (directory.exists() and any(directory.iterdir())) is (first is not None)
    said: list[str] = []
    values(opened(said).run("ft", programs, identity=lambda: second))
    assert not [text for text in said if "goes on" in text]


@dataclass(frozen=True)
class Odd:
    """What an editor of somebody's own keeps for its next edit."""

    edits: int


class Remembers(Ft):
    """Keeps something between two edits that no file has a form for."""

    def edit(self, jobs, progress=silent):  # type: ignore[no-untyped-def]
        return [replace(result, state=Odd(1)) for result in super().edit(jobs, progress)]


def test_what_has_no_form_in_a_file_is_said(
    opened: Callable[[list[str]], EngineSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("pytest_editpitfalls.engine.editors.ft.editor.Ft", Remembers)
    said: list[str] = []
    values(opened(said).run("ft", [chain("A", (1, 9))], identity=source))
    assert [text for text in said if "starts anew" in text] == [
        "ft: a chain that is stopped starts anew: no file can hold what the editor keeps (Odd)"
    ]


def by_hand(model, tokenizer, requests):  # type: ignore[no-untyped-def]
    """Edits in place."""
    model.get_parameter("model.layers.1.mlp.down_proj.weight").data += 0.001 * len(requests)
    return model


@pytest.fixture
def mine() -> Iterator[None]:
    EDITORS.add("mine", in_place_editor(draws="nothing")(by_hand), origin="a test")
    yield
    EDITORS.forget_added()


@pytest.mark.parametrize(
    ("editor", "known", "why"),
    [
        (
            "mine",
            "source",
            "no file can hold all that an editor that writes to the model may leave there",
        ),
        ("ft", None, "the editor's source cannot be read, so that no file is known to be of it"),
    ],
)
def test_a_long_chain_that_cannot_be_kept_says_so_where_it_starts(
    editor: str, known: str | None, why: str, opened: Callable[[list[str]], EngineSession], mine: None
) -> None:
    said: list[str] = []
    session = opened(said)
    for steps in ((1, 9), (1, 2), (1, 10)):
        values(session.run(editor, [chain("A", steps)], identity=lambda: known))
        anew = [text for text in said if "starts anew" in text]
        assert anew == [f"{editor}: a chain that is stopped starts anew: {why}"]
    said.clear()
    values(opened(said).run(editor, [chain("A", (1, 2))], identity=lambda: known))
    assert not [text for text in said if "starts anew" in text]
