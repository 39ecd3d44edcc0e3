"""The authors' own code of ENCORE, NAS, SPHERE and LyapLock on a tiny model, beside ours: ``NAME CHECKOUT [FAMILY]``.

Their functions edit; nothing of theirs is changed. Around them: templates, second moments and null spaces are ours,
put where their code caches its own; "cuda" is answered with the CPU; ``datasets``, which is needed there only to
compute second moments, is not imported. Their code expects that a block returns a tuple, which it does no longer: the
blocks are wrapped in modules that do, under other names, which their settings take.

Prints a JSON object: by step of the chain, how far apart the log-probabilities of some facts are under both edited
models (``apart``), how far they are from the unedited model's (``moved``), and how many steps our searches took
(``steps``).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import io
import json
import os
import sys
import tempfile
import types
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from benchmarks.released import _device
from torch import Tensor, nn

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.overlay import DenseDelta
from pytest_editpitfalls.engine.settings import Progress
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import is_transposed, make, regular

TEMPLATES = [
    "{}",
    "The truth is that {}",
    "According to the report, {}",
    "Because of the rain, the game was stopped. {}",
    "In the news today, {}",
    "He is married to her. {}",
]
"""ENCORE's code expects five besides the bare prompt."""

STEPS = (
    (EditRequest("The capital of {} is", "France", "Rome"),),
    (EditRequest("The mother of {} is", "the king", "Japan"), EditRequest("{} speaks", "Danielle Darrieux", "Russian")),
    (EditRequest("The capital of {} is", "France", "Tokyo"),),
)
ONE_TOKEN = {"Rome": "her", "Japan": "the", "Russian": "capital", "Tokyo": "was"}
"""Other objects for ENCORE, whose code means its early stop for objects of one token only."""

ASKED = (
    ("The capital of France is", "Rome"),
    ("The capital of France is", "Tokyo"),
    ("The capital of Japan is", "Tokyo"),
    ("The mother of the king is", "Japan"),
    ("Danielle Darrieux speaks", "Russian"),
    ("The author of the book is", "a writer"),
)
TABLE: dict[str, Any] = {
    "context_templates": TEMPLATES,
    "v_num_grad_steps": 12,
    "v_lr": 0.3,
    "clamp_norm_factor": 2.0,
    "v_weight_decay": 0.01,
    "kl_factor": 0.0625,
}
OWN: dict[str, dict[str, Any]] = {
    "encore": {
        "update_norm_lambda": 0.5,
        "prob_cutoff": -2,
        "mom2_update_weight": 5.0,
        "v_num_grad_steps": 20,
        "v_lr": 0.5,
        "clamp_norm_factor": 8.0,
    },
    "nas": {"nas_norm": 12.0, "nas_limit": 2.0, "L2": 0.5, "nullspace_threshold": 0.5},
    "sphere": {"L2": 0.5, "nullspace_threshold": 0.5},
    "lyaplock": {"alpha": 0.4, "mom2_update_weight": 5.0},
}


ENDS = {"qwen2": ("model.norm", "model.embed_tokens"), "gpt2": ("transformer.ln_f", "transformer.wte")}
"""Final norm and token embedding."""


class _AsTuple(nn.Module):
    """What a block was in the authors' transformers: it returns a tuple."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        return (self.block(*args, **kwargs),)


class _Block(nn.Module):
    """What it is now."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.inner = _AsTuple(block)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.inner(*args, **kwargs)[0]  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner").block, name)


class Theirs:
    """One of the four on a copy of the model, with our editor's settings."""

    def __init__(self, name: str, checkout: Path, editor: Any) -> None:
        host = editor._host
        self.name, self.hp = name, editor._hp
        self.tokenizer = copy.deepcopy(host.tokenizer)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"
        self.model = copy.deepcopy(host.model)
        self.model.config._name_or_path = "gpt2-tiny" if is_transposed(host) else "tiny"
        blocks = self.model.get_submodule(host.family.blocks)
        for place, block in enumerate(blocks):
            blocks[place] = _Block(block)
        inner, path = f"{host.family.blocks}.{{}}.inner", f"{host.family.blocks}.{{}}.inner.block"
        tied = "lm_head.weight" not in dict(self.model.named_parameters())  # ENCORE looks for a parameter of that name
        head = ENDS[host.family.name][1] if tied else "lm_head"
        self.settings: dict[str, Any] = {
            **{key: value for key, value in editor._hp.model_dump().items() if key != "source"},
            "layers": list(editor._hp.layers),
            "rewrite_module_tmp": f"{path}.{host.family.down_projection}",
            "layer_module_tmp": inner,
            "mlp_module_tmp": f"{path}.{host.family.mlp}",
            "attn_module_tmp": "",
            "ln_f_module": ENDS[host.family.name][0],
            "lm_head_module": head,
            "mom2_dataset": "",
            "model_name": "llama-tiny",
            "alg_name": "SPHERE",
            "device": "cpu",
            "stats_dir": "",
        }
        os.chdir(checkout)
        sys.path.insert(0, str(checkout))
        for stub in ("datasets", "dsets"):
            sys.modules[stub] = types.ModuleType(stub)
            sys.modules[stub].__dict__.update(load_dataset=None, MultiCounterFactDataset=None)
        self.moments = {layer: regular(editor, layer) for layer in editor._hp.layers}
        size = len(self.moments[editor._hp.layers[0]])
        self.spaces = torch.zeros(len(editor._hp.layers), size, size)
        if name in ("nas", "sphere"):
            for place, layer in enumerate(editor._hp.layers):
                values, vectors = torch.linalg.eigh(editor._moments[layer].matrix)
                space = vectors[:, values < editor._hp.nullspace_threshold]
                self.spaces[place] = space @ space.T
        self.cache = torch.zeros_like(self.spaces)
        self.first = {layer: self._weight(layer).clone() for layer in editor._hp.layers}
        getattr(self, f"_open_{name}")()

    def edit(self, requests: tuple[EditRequest, ...]) -> None:
        asked = [
            {
                "case_id": number,
                "prompt": each.prompt,
                "subject": each.subject,
                "target_new": {"str": f" {each.target_new}"},
            }
            for number, each in enumerate(requests)
        ]
        getattr(self, f"_edit_{self.name}")(asked)

    def _weight(self, layer: int) -> Tensor:
        module: Any = self.model.get_submodule(self.settings["rewrite_module_tmp"].format(layer))
        weight: Tensor = module.weight.detach()
        return weight.T if type(module).__name__ == "Conv1D" else weight

    def _hyperparameters(self, kind: Any) -> Any:
        return kind(**{key: value for key, value in self.settings.items() if key in kind.__dataclass_fields__})

    def _key(self, layer: int) -> tuple[str, str]:
        return self.model.config._name_or_path.replace("/", "_"), self.settings["rewrite_module_tmp"].format(layer)

    def _open_encore(self) -> None:
        self.main = main = importlib.import_module("encore.encore_main")
        main.CONTEXT_TEMPLATES_CACHE = [TEMPLATES[:1], TEMPLATES[1:]]
        for layer, moment in self.moments.items():
            main.COV_CACHE[self._key(layer)] = moment.float()  # a copy is made of it, as it is multiplied in place
            main.COV_CACHE[(*self._key(layer), "preserved_keys")] = None
        self.settings |= {"prob_cutoff": self.hp.prob_cutoff}
        self.given = self._hyperparameters(importlib.import_module("encore.encore_hparams").ENCOREHyperParams)
        self.given.sequential = True

    def _edit_encore(self, requests: list[dict[str, Any]]) -> None:
        self.main.apply_encore_to_model(self.model, self.tokenizer, requests, self.given)

    def _open_nas(self) -> None:
        for part in ("baselines", "baselines.rome", "baselines.memit"):  # their __init__ import every editor
            sys.modules[part] = types.ModuleType(part)
            sys.modules[part].__path__ = [part.replace(".", "/")]
        sys.modules["baselines.memit"].__dict__["MEMITHyperParams"] = None
        sys.modules["NAS"] = types.ModuleType("NAS")
        sys.modules["NAS"].__path__ = ["NAS"]
        self.main = main = importlib.import_module("NAS.NAS_main")
        main.CONTEXT_TEMPLATES_CACHE = [TEMPLATES[:1], TEMPLATES[1:]]
        searched: Any = importlib.import_module("NAS.compute_z")
        searched.get_or_compute_mean_vstar_norm = lambda **_: self.hp.nas_norm
        self.given = self._hyperparameters(importlib.import_module("NAS.NAS_hparams").NASHyperParams)

    def _edit_nas(self, requests: list[dict[str, Any]]) -> None:
        self.main.apply_NAS_to_model(
            self.model, self.tokenizer, requests, self.given, cache_c=self.cache, P=self.spaces
        )

    def _open_sphere(self) -> None:
        for part in ("easyeditor", "easyeditor.models", "easyeditor.models.SPHERE", "easyeditor.models.rome"):
            sys.modules[part] = types.ModuleType(part)
            sys.modules[part].__path__ = [part.replace(".", "/")]
        sys.modules["easyeditor.util"] = types.ModuleType("easyeditor.util")
        sys.modules["easyeditor.util"].__path__ = ["easyeditor/util"]
        layer_stats = types.ModuleType("easyeditor.models.rome.layer_stats")
        layer_stats.__dict__["layer_stats"] = None
        sys.modules["easyeditor.models.rome.layer_stats"] = layer_stats
        self.main = main = importlib.import_module("easyeditor.models.SPHERE.SPHERE_main")
        main.CONTEXT_TEMPLATES_CACHE = [TEMPLATES[:1], TEMPLATES[1:]]
        file = Path(tempfile.mkdtemp()) / "spaces.pt"
        torch.save(self.spaces, file)
        self.settings["P_loc"] = str(file)
        hyperparameters: Any = importlib.import_module("easyeditor.models.SPHERE.SPHERE_hparams")
        self.given = self._hyperparameters(hyperparameters.SPHEREHyperParams)

    def _edit_sphere(self, requests: list[dict[str, Any]]) -> None:
        for each in requests:
            each["target_new"] = each["target_new"]["str"]
            each["prompt"] = each["prompt"].replace("{}", each["subject"])  # it looks for the subject there
        self.main.apply_SPHERE_to_model(self.model, self.tokenizer, requests, self.given)

    def _open_lyaplock(self) -> None:
        self.main = main = importlib.import_module("lyaplock.lyaplock_main")
        main.CONTEXT_TEMPLATES_CACHE = [TEMPLATES[:1], TEMPLATES[1:]]
        for layer, moment in self.moments.items():
            main.K0K0_T_CACHE[self._key(layer)] = moment
            main.V0K0_T_CACHE[self._key(layer)] = self.first[layer] @ moment
            main.V0V0_T_CACHE[self._key(layer)] = self.first[layer] @ moment @ self.first[layer].T
        self.given = self._hyperparameters(importlib.import_module("lyaplock.LyapLock_hparams").LyapLockHyperParams)
        every = {
            "V": 1,
            "Z": "1sqrtD",
            "a": "1_sqrtD",
            "b": 0,
            "zmax": "1sqrtD",
            "alpha": self.hp.alpha,
            "D_base": None,
        }
        self.kept: dict[str, Any] = {key: dict.fromkeys(self.hp.layers, value) for key, value in every.items()}
        self.kept |= {"Pre_Cache": {layer: [] for layer in self.hp.layers}, "cnt": 0}

    def _edit_lyaplock(self, requests: list[dict[str, Any]]) -> None:
        _, _, self.kept = self.main.apply_lyaplock_to_model(
            self.model, self.tokenizer, requests, self.given, **self.kept
        )
        self.kept["cnt"] += 1


def _on_the_cpu() -> Any:
    """While it is open, "cuda" is the CPU, also for ``.cuda()``."""
    stack = contextlib.ExitStack()
    stack.enter_context(_device("cpu"))
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor))
    return stack


def log_probabilities(model: Any, tokenizer: Any) -> list[float]:
    return [naive.mean_log_prob(model, tokenizer, prompt, target) for prompt, target in ASKED]


def _soon(request: EditRequest) -> EditRequest:
    """A fact that ENCORE's search finds in a few steps: the subject's last token predicts an object of one token."""
    prompt = request.prompt[: request.prompt.index("{}") + 2]
    return replace(request, prompt=prompt, target_new=ONE_TOKEN[request.target_new])


def compare(name: str, checkout: Path, family: str) -> dict[str, Any]:
    """Both edit the same chain; see the module's docstring for what is returned."""
    editor = make(name, make_forward(family), Path(tempfile.mkdtemp()), **{**TABLE, **OWN[name]})
    editor.prepare()
    host, result = editor._host, EditResult()
    base = log_probabilities(host.model, host.tokenizer)
    torch.set_default_dtype(torch.float64)  # theirs makes new tensors of the default
    theirs = Theirs(name, checkout, editor)
    apart: list[float] = []
    moved: list[float] = []
    stopped: list[int] = []
    for step, requests in enumerate(STEPS, start=1):
        if name == "encore":
            requests = tuple(_soon(each) for each in requests)
        seen: list[Progress] = []
        (result,) = editor.edit([EditJob("a", step, requests, result.model, result.state)], seen.append)
        stopped.append(max(each.done for each in seen))
        assert result.error is None, result.error
        with _on_the_cpu():
            theirs.edit(requests)
        updates = [
            (change.module, change.weight if isinstance(change, DenseDelta) else change.u @ change.v.T)
            for change in result.model
        ]
        with naive.in_place(host.model, updates, is_transposed(host)):
            ours = log_probabilities(host.model, host.tokenizer)
        with torch.no_grad():
            other = log_probabilities(theirs.model, theirs.tokenizer)
        apart += [abs(x - y) for x, y in zip(ours, other, strict=True)]
        moved += [abs(x - y) for x, y in zip(ours, base, strict=True)]
    return {"apart": apart, "moved": moved, "steps": stopped}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=sorted(OWN))
    parser.add_argument("checkout", type=Path)
    parser.add_argument("family", nargs="?", default="qwen2")
    options = parser.parse_args()
    print(json.dumps(compare(options.name, options.checkout.resolve(), options.family)))


if __name__ == "__main__":
    main()
