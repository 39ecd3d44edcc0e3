"""An editor that runs in an interpreter of its own: a model directory in, changed weights out. Torch-free until called.

Each edit starts a process that imports torch and loads the model: slow, and the only way where an editor is pinned to
releases that this environment does not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.errors import CaseError, UsageError

from .collection import in_checkout, with_signature

OPTION = "--pitfalls-editor-python"

_BRIDGE = "__editpitfalls_bridge__"
_LAST = 300
"""Characters of what a process said last that a message shows."""
_NEEDS = "install what it needs there, torch, transformers and safetensors too: {python} -m pip install ..."
_SENT = (
    "errors.py",
    "escaping.py",
    "engine/outside/calling.py",
    "engine/outside/checkout.py",
    "engine/outside/former_transformers.py",
    "engine/outside/state.py",
    "engine/outside/table.py",
    "engine/editors/wise/irrelevant_prompts.txt",
)
"""What a collection's editor is called with: the same files as here, since this package is not installed there."""


def is_bridged(editor: Any) -> bool:
    """Whether the editor's code is in another interpreter, where it cannot be read."""
    return hasattr(editor, _BRIDGE)


def bridged_editor(
    path: str, python: Path, folders: Sequence[str], *, where: str, checked: bool = True
) -> Callable[..., Any]:
    """The in-place editor ``package.module:attribute`` of the interpreter ``python``.

    Args:
        folders: where its modules are looked for besides, as in this process.
        where: the option that named the editor.
        checked: whether a process is started that imports it: what is wrong is said before work begins.

    Raises:
        UsageError: there is no such interpreter, or the editor, torch, transformers or safetensors cannot be imported
            there.
    """
    module, _, attribute = path.partition(":")
    editor = {"module": module, "attribute": attribute, "path": list(folders)}
    if checked:
        _check_import(path, python, editor, where, _NEEDS.format(python=python))
    edit = _edit(editor, python, attribute)
    return in_place_editor(title=f"{attribute} (run by {python})", source=path)(edit)


def bridged_collection_editor(
    path: str, python: Path, checkouts: Mapping[str, Path], *, where: str, checked: bool = True
) -> Callable[..., Any]:
    """The in-place editor that ``easyedit:ROME`` means, run by the interpreter ``python``.

    Args:
        checkouts: name of a collection -> directory, as the user has named it.
        where, checked: as of `bridged_editor`.

    Raises:
        UsageError: as `in_checkout` and `bridged_editor`; or its edit is more than weights, which cannot come back.
    """
    found = in_checkout(path, checkouts, where=where)
    collection, algorithm = found.collection, found.algorithm
    if algorithm in collection.attachments:
        raise UsageError(
            f"{algorithm} of {collection.title} attaches something to the model, and only weights come back from there",
            where=OPTION,
            fix="run it in this environment: leave the option out",
        )
    editor = {
        "path": [],
        "collection": {
            "directory": str(found.directory.absolute()),
            "table": collection.table,
            "package": collection.package,
            "bare": collection.bare,
            "algorithm": algorithm,
            "left_padding": collection.left_padding(algorithm),
            "one_by_one": algorithm in collection.one_request,
            "of_2022": collection.of_2022,
        },
    }
    if checked:
        _check_import(path, python, editor, where, f"{_NEEDS.format(python=python)}; {collection.needs}")
    edit = _edit(editor, python, algorithm)
    with_signature(edit, ReadThere)
    return found.described(title=f"{algorithm} ({collection.title}, run by {python})")(edit)


class ReadThere:
    """Hyper-parameters, a file or a table, of which the other interpreter makes an object of the editor's own class."""

    def __init__(self, file: str | None = None, **table: Any) -> None:
        self.value = table if file is None else file

    @classmethod
    def from_hparams(cls, file: str) -> ReadThere:
        """Read nothing yet."""
        return cls(file)


def _edit(editor: dict[str, Any], python: Path, name: str) -> Callable[..., Any]:
    def edit(model: Any, tokenizer: Any, requests: list[dict[str, Any]], **hyperparameters: Any) -> Any:
        from .bridge_model import take_over, written

        with tempfile.TemporaryDirectory(prefix="editpitfalls-") as folder:
            job = written(Path(folder), model, tokenizer, requests)
            arguments = {key: _as_json(value) for key, value in hyperparameters.items()}
            answer, said = _asked(python, {**editor, **job, "arguments": arguments}, Path(folder))
            _check(answer, said, python)
            take_over(model, Path(folder) / "changed.safetensors")
        return model

    setattr(edit, _BRIDGE, python)
    edit.__name__ = edit.__qualname__ = name
    return edit


def _as_json(value: Any) -> Any:
    if isinstance(value, ReadThere):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _check_import(path: str, python: Path, editor: dict[str, Any], where: str, fix: str) -> None:
    with tempfile.TemporaryDirectory(prefix="editpitfalls-") as folder:
        try:
            answer, said = _asked(python, editor, Path(folder))
        except OSError as error:
            raise UsageError(
                f"{python} cannot be run: {error.strerror or error}",
                where=OPTION,
                fix="name the interpreter of an environment: PATH/bin/python",
            ) from None
    wrong = said if answer is None else answer.get("import") or answer.get("error")
    if wrong is not None:
        raise UsageError(f"{path} cannot be imported by {python}: {wrong}", where=where, fix=fix)


def _asked(python: Path, job: dict[str, Any], folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The answer, None where the process ended without one; and how it ended, in words."""
    if "collection" in job:
        job = {**job, "code": str(_sent(folder / "code"))}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    worker = files(__package__).joinpath("bridge_worker.py").read_text("utf-8")
    done = _run([str(python), "-c", worker, str(folder / "job.json")])
    if "model" in job:
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
    code = done.returncode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2][-_LAST:]
    said = f"its process ended with {ended}" + (f": {last}" if last else "")
    answer = folder / "answer.json"
    return (json.loads(answer.read_text("utf-8")) if answer.is_file() and code == 0 else None), said


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the worker to its end. It ends with this process, however that ends, and so does what it has started.

    The other end of its standard input is held open here and nowhere else: it reads there that this process is gone,
    also where nobody could tell it (a watchdog, a kill, memory that ran out).
    """
    stdin, held = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own, to be ended as a whole
            env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
        )
        os.close(stdin)
        stdin = -1
        try:
            out, err = process.communicate()
        except BaseException:  # the time limit, Ctrl-C
            _end(process)
            raise
    finally:
        for end in (stdin, held):
            if end >= 0:
                os.close(end)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """End a worker and what it has started; its folder can be removed then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _sent(folder: Path) -> Path:
    """A package of this one's name in ``folder``, with the files of `_SENT` alone."""
    package = (__package__ or "").partition(".")[0]
    for name in _SENT:
        target = folder / package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files(package).joinpath(name).read_bytes())
        for room in target.relative_to(folder).parents:
            if room.name:
                (folder / room / "__init__.py").touch()
    return folder


def _check(answer: dict[str, Any] | None, said: str, python: Path) -> None:
    if answer is None:
        raise CaseError(said, fix=f"see what it prints (-s), run by {python}")
    if (release := answer.get("other")) is not None:
        raise CaseError(
            f"transformers {release} of {python} reads the {answer['what']} there than here",
            fix="install a release there that knows this model",
        )
    if (wrong := answer.get("import")) is not None:
        raise CaseError(f"it cannot be imported by {python}: {wrong}")
    if (error := answer.get("error")) is not None:
        text = error.partition(": ")[2]
        # a text was taken for a dictionary: forms of targets are tried in turn
        if answer["kind"] in ("TypeError", "AttributeError"):
            raise TypeError(text)
        raise CaseError(error)
