"""``--against DIR``: ROME of a checkout of the benchmark's released code, timed in turns with the reference.

    python -m benchmarks.released DIR --cases 1 --model smollm2-135m --device cpu

The checkout's own functions edit (`apply_rome_to_model`) and score (`test_batch_prediction`); nothing in it is changed.
Around them: the model, templates and second moment of our editor are handed over in the places where the released code
caches its own; a request for the device "cuda" is answered with the device that is measured; the package ``datasets``,
which is needed there only to compute second moments, is not imported; what it prints is dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores, EditRequest, ProbeScore

from .answers import differences
from .part import Asked

ROOT = Path(__file__).parents[1]
NEEDED = "memit/rome/rome_main.py"


def measure(asked: Asked, programs: Sequence[Program]) -> dict[str, Any]:
    """Figures of a process that runs the checkout, or why it cannot run ("error")."""
    assert asked.against is not None
    if not (asked.against / NEEDED).is_file():
        return {"error": f"{asked.against} is no checkout of the released code: it has no {NEEDED}"}
    command = [sys.executable, "-m", "benchmarks.released", str(asked.against.absolute())]
    command += ["--cases", str(len(programs)), "--model", asked.model, "--device", asked.device]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"the checkout {asked.against} does not run here: {last}"}
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


class Checkout:
    """The released ROME on one model.

    Args:
        session: our session, whose editor's templates and second moment are handed over.

    Raises:
        ImportError: the checkout's modules are not where they are expected, or need something that is not here.
    """

    def __init__(self, directory: Path, session: Any) -> None:
        from .reference.borrowed import Borrowed

        borrowed = Borrowed.of(session, "rome")
        self._host = host = borrowed.host
        (layer,) = borrowed.hyperparameters["layers"]
        os.chdir(directory)  # it reads its settings relative to there
        sys.path[:0] = [str(directory / "memit"), str(directory)]
        sys.modules["datasets"] = types.ModuleType("datasets")
        sys.modules["datasets"].__dict__["load_dataset"] = None
        main: Any = importlib.import_module("rome.rome_main")
        keys: Any = importlib.import_module("rome.compute_u")
        self._scoring = _load(directory / "experiments" / "py" / "eval_utils_conflictedit.py")
        self._apply: Callable[..., Any] = main.apply_rome_to_model
        self._parameter = importlib.import_module("util.nethook").get_parameter
        family, path = host.family, host.down_projection_path(layer)
        template = path.replace(f"{family.blocks}.{layer}.", f"{family.blocks}.{{}}.", 1)
        wanted = main.ROMEHyperParams.__dataclass_fields__
        values = {name: value for name, value in borrowed.hyperparameters.items() if name in wanted}
        values |= {
            "layers": [layer],
            "rewrite_module_tmp": template,
            "layer_module_tmp": f"{family.blocks}.{{}}",
            "mlp_module_tmp": f"{family.blocks}.{{}}.{family.mlp}",
            "attn_module_tmp": "",
            "ln_f_module": "",
            "lm_head_module": "",
        }
        self._hyperparameters = main.ROMEHyperParams(**values)
        main.CONTEXT_TEMPLATES_CACHE = list(borrowed.templates)
        if borrowed.moments:
            name = host.model.config._name_or_path.replace("/", "_")
            inverse = borrowed.moments[layer].inverse().to(host.edit_dtype)
            keys.inv_mom2_cache[name, path] = inverse
        host.model.config.n_embd = host.matrix_shape(layer)[0]  # what GPT-2 calls it
        host.tokenizer.pad_token = host.tokenizer.pad_token or host.tokenizer.eos_token
        host.tokenizer.padding_side = "right"

    def run(self, program: Program) -> CaseScores:
        """Both edits, all probes state by state on the way back, the weights restored."""
        host, seconds = self._host, {"edit": 0.0, "score": 0.0}
        answers: dict[int, ProbeScore] = {}
        copies: list[dict[str, Any]] = []
        with _device(str(host.device)), contextlib.redirect_stdout(io.StringIO()):
            started = time.perf_counter()
            for requests in program.steps:
                _, before = self._apply(
                    host.model,
                    host.tokenizer,
                    [_request(each) for each in requests],
                    self._hyperparameters,
                    return_orig_weights=True,
                )
                copies.append(before)
            seconds["edit"] = time.perf_counter() - started
            started = time.perf_counter()
            for length in range(len(copies), -1, -1):
                states = {each.name for each in program.states if each.steps == tuple(range(length))}
                for index, probe in enumerate(program.probes):
                    if probe.state in states:
                        answers[index] = ProbeScore(probe.fact, probe.state, self._score(probe))
                if copies:
                    for name, weight in copies.pop().items():
                        self._parameter(host.model, name).data.copy_(weight)
            seconds["score"] = time.perf_counter() - started
        probes = tuple(answers[index] for index in sorted(answers))
        return CaseScores(program.case_id, probes, seconds=sum(seconds.values()), timings=seconds)

    def _score(self, probe: Any) -> tuple[float, ...]:
        none = [0] * len(probe.prompts)
        return tuple(
            self._scoring.test_batch_prediction(
                self._host.model, self._host.tokenizer, list(probe.prompts), none, probe.target, probe.target
            )
        )


def _request(request: EditRequest) -> dict[str, Any]:
    return {
        "prompt": request.prompt,
        "subject": request.subject,
        "relation_id": request.relation,
        "target_new": {"str": request.target_new},
        "target_true": {"str": request.target_true or ""},
    }


def _load(path: Path) -> Any:
    """A module by its file: the checkout has two packages called ``experiments``."""
    specification = importlib.util.spec_from_file_location("released_scoring", path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ImportError(f"no file {path.name} in the checkout")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _device(name: str) -> Any:
    """While it is open, torch functions that are asked for "cuda" use the device of that name."""
    if name.startswith("cuda"):
        return contextlib.nullcontext()
    from torch.overrides import TorchFunctionMode

    class Redirected(TorchFunctionMode):
        def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            told = {key: name if value == "cuda" else value for key, value in (kwargs or {}).items() if key == "device"}
            given = tuple(name if isinstance(each, str) and each == "cuda" else each for each in args)
            return function(*given, **{**(kwargs or {}), **told})

    return Redirected()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.released", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    from .programs import reverse_programs
    from .reference.runner import ReferenceRunner
    from .ways import open_session

    session = open_session(options.model, options.device)
    programs = reverse_programs(options.cases)
    reference = ReferenceRunner(session, "rome")
    released = Checkout(options.directory.resolve(), session)
    pairs = [(released.run(program), reference.run(program)) for program in programs]
    print(json.dumps(figures(pairs)))
    return 0


def figures(pairs: Sequence[tuple[CaseScores, CaseScores]]) -> dict[str, Any]:
    """Of the checkout's answers and those of the reference to the same programs."""
    count = len(pairs)
    return {
        "cases": count,
        "seconds_per_case": round(sum(a.seconds for a, _ in pairs) / count, 4),
        "editing_seconds_per_case": round(sum(a.timings["edit"] for a, _ in pairs) / count, 4),
        "scoring_seconds_per_case": round(sum(a.timings["score"] for a, _ in pairs) / count, 4),
        "reference_seconds_per_case": round(sum(b.seconds for _, b in pairs) / count, 4),
        "difference_of_log_p": differences([a for a, _ in pairs], [b for _, b in pairs]),
    }


if __name__ == "__main__":
    raise SystemExit(main())
