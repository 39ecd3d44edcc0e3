"""Reading files from outside: what is no ordinary file, what is too large, and what would take for ever."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls import files
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Fact
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.held import MAX_CANDIDATES, BaseFacts

Make = Callable[[str], Any]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_a_pipe_is_refused_without_waiting(small_suite: Make) -> None:
    header = small_suite("reverse").write()
    header.with_name("small.jsonl").unlink()
    os.mkfifo(header.with_name("small.jsonl"))
    with pytest.raises(UsageError, match="a device or a pipe, not a file"):
        load_suite(header)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="a device or a pipe"):
        files.read_bounded(Path("/dev/zero"))


def test_a_large_header_is_refused(small_suite: Make) -> None:
    header = small_suite("reverse").write()
    header.write_bytes(header.read_bytes() + b"#" * files.MAX_SMALL_FILE_BYTES)
    with pytest.raises(UsageError, match="too large"):
        load_suite(header)


def test_a_long_line_is_refused(small_suite: Make) -> None:
    small = small_suite("reverse")
    small.lines[1]["id"] = "x" * 2**20
    with pytest.raises(UsageError, match=r"small\.jsonl:2: the line is too long"):
        load_suite(small.write())


def test_a_byte_order_mark_is_no_mistake(small_suite: Make) -> None:
    header = small_suite("reverse").write()
    for path in header.parent.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_suite(header).cases) == 2


def test_many_true_objects_of_one_subject_take_no_square_time() -> None:
    """The way to the first candidate is long, and every one of the questions goes it."""
    facts = [Fact("P1", "s", str(number)) for number in range(20_000)]
    base = BaseFacts([*facts, Fact("P1", "other", "x"), *(Fact("P1", "other", f"x{n}") for n in range(40))])
    started = time.perf_counter()
    held = base.held({str(place): fact for place, fact in enumerate(facts)})
    assert time.perf_counter() - started < 5
    assert len(held) == len(facts)
    assert held[-1].candidates == ("x", *(f"x{n}" for n in range(MAX_CANDIDATES - 1)))


def test_a_candidate_is_not_the_fact_itself() -> None:
    base = BaseFacts(Fact("P1", "other", f"x{n}") for n in range(MAX_CANDIDATES + 5))
    (held,) = base.held({"edit1": Fact("P1", "s", "x3")})
    assert len(held.candidates) == MAX_CANDIDATES
    assert "x3" not in held.candidates


SOURCES = sorted((Path(files.__file__).parents[1]).rglob("*.py"))
CODE_LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_here_loads_code(path: Path) -> None:
    """No pickle in any form, and every call that could run a model's code says that it must not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [name.name for name in node.names] + [getattr(node, "module", None) or ""]
            assert not CODE_LOADERS & {name.partition(".")[0] for name in names}
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in {"torch.load", "torch.save", "eval", "exec"}
        if called.startswith("yaml."):  # its other loaders make any Python object
            assert called == "yaml.safe_load" or given["Loader"] == "yaml.SafeLoader"
        if called in {"np.load", "numpy.load"}:
            assert given["allow_pickle"] == "False"
        if called.endswith("from_pretrained"):
            assert given.get("trust_remote_code", "False") == "False"
            assert "trust_remote_code" in given or given.get(None) == "_options(source)"
        if called == "AutoModelForCausalLM.from_pretrained":
            assert given["use_safetensors"] == "True"
