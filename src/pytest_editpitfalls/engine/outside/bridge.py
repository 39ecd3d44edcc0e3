"""An editor that runs in an interpreter of its own: a model directory in, changed weights out. Torch-free until called.

Each edit starts a process that imports torch and loads the model: slow, and the only way where an editor is pinned to
releases that this environment does not have.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.errors import CaseError, UsageError

OPTION = "--pitfalls-editor-python"

_BRIDGE = "__editpitfalls_bridge__"
_LAST = 300
"""Characters of what a process said last that a message shows."""


def is_bridged(editor: Any) -> bool:
    """Whether the editor's code is in another interpreter, where it cannot be read."""
    return hasattr(editor, _BRIDGE)


def bridged_editor(path: str, python: Path, folders: Sequence[str], *, where: str) -> Callable[..., Any]:
    """The in-place editor ``package.module:attribute`` of the interpreter ``python``.

    Args:
        folders: where its modules are looked for besides, as in this process.
        where: the option that named the editor.

    Raises:
        UsageError: there is no such interpreter, or the editor, torch, transformers or safetensors cannot be imported
            there.
    """
    module, _, attribute = path.partition(":")
    editor = {"module": module, "attribute": attribute, "path": list(folders)}
    with tempfile.TemporaryDirectory(prefix="editpitfalls-") as folder:
        try:
            answer, said = _asked(python, editor, Path(folder))
        except OSError as error:
            raise UsageError(
                f"{python} cannot be run: {error.strerror or error}",
                where=OPTION,
                fix="name the interpreter of an environment: PATH/bin/python",
            ) from None
    if (wrong := said if answer is None else answer.get("import")) is not None:
        raise UsageError(
            f"{path} cannot be imported by {python}: {wrong}",
            where=where,
            fix=f"install what it needs there, torch, transformers and safetensors too: {python} -m pip install ...",
        )

    def edit(model: Any, tokenizer: Any, requests: list[dict[str, Any]], **hyperparameters: Any) -> Any:
        with tempfile.TemporaryDirectory(prefix="editpitfalls-") as folder:
            job = _written(editor, Path(folder), model, tokenizer, requests, hyperparameters)
            answer, said = _asked(python, job, Path(folder))
            _check(answer, said, python)
            _take_over(model, Path(folder) / "changed.safetensors")
        return model

    setattr(edit, _BRIDGE, python)
    edit.__name__ = edit.__qualname__ = attribute
    return in_place_editor(title=f"{attribute} (run by {python})", source=path)(edit)


def _asked(python: Path, job: dict[str, Any], folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The answer, None where the process ended without one; and how it ended, in words."""
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    worker = files(__package__).joinpath("bridge_worker.py").read_text("utf-8")
    done = subprocess.run(
        [str(python), "-c", worker, str(folder / "job.json")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
    )
    if "model" in job:
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
    code = done.returncode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2][-_LAST:]
    said = f"its process ended with {ended}" + (f": {last}" if last else "")
    answer = folder / "answer.json"
    return (json.loads(answer.read_text("utf-8")) if answer.is_file() and code == 0 else None), said


def _written(
    editor: dict[str, Any], folder: Path, model: Any, tokenizer: Any, requests: Any, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Save what the process reads, and return its job."""
    import torch
    from safetensors.torch import save_file

    config = dict(vars(model.config))
    try:
        model.save_pretrained(folder / "model")
    finally:  # saving writes into the configuration
        vars(model.config).clear()
        vars(model.config).update(config)
    tokenizer.save_pretrained(folder / "model")
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        logits = model(input_ids=tokens.to(model.device)).logits.float().cpu().contiguous()
    save_file({"tokens": tokens, "logits": logits}, str(folder / "probe.safetensors"))
    half = model.dtype in (torch.bfloat16, torch.float16)
    return {
        **editor,
        "model": str(folder / "model"),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "tolerance": {"rtol": 0.05, "atol": 0.1} if half else {"rtol": 1e-3, "atol": 1e-3},
        "seed": torch.initial_seed() % 2**32,
        "requests": requests,
        "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()},
    }


def _check(answer: dict[str, Any] | None, said: str, python: Path) -> None:
    if answer is None:
        raise CaseError(said, fix=f"see what it prints (-s), run by {python}")
    if (release := answer.get("other")) is not None:
        raise CaseError(
            f"transformers {release} of {python} reads the model, and it answers otherwise there than here",
            fix="install a release there that knows this model",
        )
    if (error := answer.get("error")) is not None:
        text = error.partition(": ")[2]
        # a text was taken for a dictionary: forms of targets are tried in turn
        if answer["kind"] in ("TypeError", "AttributeError"):
            raise TypeError(text)
        raise CaseError(error)


def _take_over(model: Any, path: Path) -> None:
    """Write the changed weights into the model."""
    import torch
    from safetensors.torch import load_file

    known = dict(model.state_dict())
    changed = load_file(str(path))
    for name, tensor in changed.items():
        if name not in known:
            raise CaseError(
                f"returned a model with '{name}', which this one does not have",
                fix="merge what was added into the weights before the function returns",
            )
        if known[name].shape != tensor.shape:
            raise CaseError(
                f"returned '{name}' of the shape {list(tensor.shape)}, not {list(known[name].shape)}",
                fix="keep the shapes of the model's weights",
            )
    with torch.no_grad():
        for name, tensor in changed.items():
            known[name].copy_(tensor)
