"""What runs in the other interpreter: one edit, from a model directory to changed weights.

It is given to that interpreter as text and imports nothing of this package but what is sent along: older releases of
Python, torch and transformers run it. Its argument is the path of a job (JSON); the answer is written beside it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def main(path: str) -> None:
    """Read the job, do it, and write ``answer.json``."""
    end_with_parent(Path(path).parent)
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    answer = {}
    try:
        answer = edited(job, Path(path).parent)
    except (Exception, SystemExit) as error:
        import traceback

        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
    Path(path).with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")


def end_with_parent(folder: Path) -> None:
    """When the process that holds the other end of standard input is gone, remove the folder and end the group."""
    held = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nobody else is to read there

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(held, 1):
                pass
        for _ in range(3):  # something may be written there at this moment
            shutil.rmtree(str(folder), ignore_errors=True)
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def edited(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The answer: what the libraries are, where there is nothing to edit; else what the edit has changed."""
    sys.path += [each for each in job["path"] if each not in sys.path]
    try:
        import torch
        import transformers
        from safetensors.torch import load_file, save_file

        function = of_collection(job) if "collection" in job else of_module(job)
    except (Exception, SystemExit) as error:
        return {"import": f"{type(error).__name__}: {error}"}
    answer = {"torch": torch.__version__, "transformers": transformers.__version__}
    if "model" not in job:
        return answer
    transformers.utils.logging.disable_progress_bar()
    if int(transformers.__version__.partition(".")[0]) < 5:
        write_as_4(Path(job["model"]))
    dtype = getattr(torch, job["dtype"])
    torch.set_default_dtype(dtype)  # older releases load into it
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["model"], trust_remote_code=False, use_safetensors=True
    )
    torch.set_default_dtype(torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"], trust_remote_code=False)
    model = model.to(device=job["device"], dtype=dtype).eval()
    probe = load_file(str(folder / "probe.safetensors"))
    with torch.no_grad():
        here = model(input_ids=probe["tokens"].to(job["device"])).logits.float().cpu()
    if here.shape != probe["logits"].shape or not torch.allclose(here, probe["logits"], **job["tolerance"]):
        return {"other": answer["transformers"], "what": "model, and it answers otherwise"}
    if any(list(tokenizer(text)["input_ids"]) != tokens for text, tokens in job["texts"]):
        return {"other": answer["transformers"], "what": "tokenizer, and it gives other tokens"}
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy").random.seed(job["seed"])
    returned = function(model, tokenizer, job["requests"], **arguments(function, job))
    if isinstance(returned, tuple) and returned:
        returned = returned[0]
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return {"error": f"left a hook or another forward on '{name}', which cannot come back", "kind": "hook"}
    after = (model if returned is None else returned).state_dict()
    changed = {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in after.items()
        if name not in before or before[name].shape != tensor.shape or not torch.equal(before[name], tensor)
    }
    save_file(changed, str(folder / "changed.safetensors"))
    return answer


def of_module(job: dict[str, Any]) -> Any:
    """The function ``package.module:attribute``."""
    found: Any = importlib.import_module(job["module"])
    for part in job["attribute"].split("."):
        found = getattr(found, part)
    return found


def of_collection(job: dict[str, Any]) -> Any:
    """A function that calls an algorithm of a checkout, by the modules that are sent along."""
    named = job["collection"]
    sys.path.insert(0, job["code"])
    from pytest_editpitfalls.engine.outside.calling import called
    from pytest_editpitfalls.engine.outside.checkout import Checkout
    from pytest_editpitfalls.engine.outside.table import AlgorithmTable

    checkout = Checkout(Path(named["directory"]), tuple(named["bare"]))
    file = Path(named["directory"], named["table"])
    table = AlgorithmTable(file.read_bytes(), str(file), named["package"])
    with checkout.entered():
        function, kind = table.load(named["algorithm"])

    def edit(model: Any, tokenizer: Any, requests: Any, **given: Any) -> Any:
        how = {key: named[key] for key in ("left_padding", "one_by_one")}
        with checkout.entered():
            return called(
                function, model, tokenizer, requests, given, blocks=job["blocks"] if named["of_2022"] else None, **how
            )

    edit.__annotations__["hparams"] = kind
    return edit


def write_as_4(folder: Path) -> None:
    """Give a model directory of transformers 5 the names that transformers 4 reads."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    parts = [each for each in config.values() if isinstance(each, dict) and "model_type" in each]
    for part in (config, *parts):
        rope = part.get("rope_parameters") or {}
        local = rope.get("sliding_attention") or {}
        rope = rope.get("full_attention", rope)
        names = {
            "torch_dtype": part.get("dtype"),
            "rope_theta": rope.get("rope_theta"),
            "rope_local_base_freq": local.get("rope_theta"),
            "partial_rotary_factor": rope.get("partial_rotary_factor"),
        }
        if part.get("model_type") == "gpt_neox":
            names.update(rotary_emb_base=rope.get("rope_theta"), rotary_pct=rope.get("partial_rotary_factor"))
        if rope.get("rope_type", "default") != "default":
            own = ("rope_theta", "partial_rotary_factor")
            names["rope_scaling"] = {key: value for key, value in rope.items() if key not in own}
        for key, value in names.items():
            if value is not None and part.get(key) is None:
                part[key] = value
    file.write_text(json.dumps(config), encoding="utf-8")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    file.write_text(json.dumps(config), encoding="utf-8")


def arguments(function: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments; a path becomes an object where the parameter's class reads one, a table one of that class."""
    given = dict(job["arguments"])
    hints = getattr(function, "__annotations__", {})
    for name, value in given.items():
        kind = hints.get(name)
        if isinstance(kind, str):
            kind = getattr(sys.modules.get(function.__module__), kind, None)
        if isinstance(value, dict) and isinstance(kind, type):
            given[name] = kind(**value)
        loaders = [getattr(kind, each) for each in ("from_hparams", "from_json") if hasattr(kind, each)]
        if isinstance(value, str) and loaders:
            given[name] = loaders[-1 if value.endswith(".json") else 0](value)
        if kind is not None and hasattr(given[name], "device"):
            gpu = job["device"].partition(":")[2]
            given[name].device = int(gpu) if gpu and not isinstance(given[name].device, str) else job["device"]
    return given


if __name__ == "__main__":  # as it is with python -c
    main(sys.argv[1])
