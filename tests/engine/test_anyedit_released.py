"""AnyEdit against the authors' code, where a checkout of jianghoucheng/AnyEdit is named in the environment.

Their files name the device "cuda" and expect blocks that return tuples; both are put right in the text that is run.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import statistics
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.program import EditRequest
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import regular
from tests.engine.test_anyedit import make
from tests.engine.test_ultraedit_released import log_ps

CHECKOUT = Path(os.environ.get("EDITPITFALLS_ANYEDIT", ""))

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "memit_ARE" / "memit_ARE_main.py").is_file(),
    reason="EDITPITFALLS_ANYEDIT names no checkout of jianghoucheng/AnyEdit",
)

STORY = (
    "that the mother of the king was married to a writer from Brazil, and nobody in the village knew where she lived"
)
REQUESTS = [
    EditRequest("The story of {} is", "France", STORY),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
]
BOUND = 1e-3


def first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@pytest.fixture
def released() -> Iterator[SimpleNamespace]:
    """Their functions; what they import for statistics of a data set is stood in for."""
    before = dict(sys.modules)
    for name in ("nltk", "util.layer_stats", "util.globals"):
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules["util.layer_stats"])["layer_stats"] = None
    vars(sys.modules["util.globals"])["STATS_DIR"] = ""
    sys.path.insert(0, str(CHECKOUT))
    try:
        package = types.ModuleType("memit_ARE")
        package.__path__ = [str(CHECKOUT / "memit_ARE")]
        sys.modules["memit_ARE"] = package
        for name in ("compute_z", "memit_ARE_main"):
            text = (CHECKOUT / "memit_ARE" / f"{name}.py").read_text(encoding="utf-8")
            text = text.replace('"cuda"', '"cpu"').replace("cur_out[0]", "first(cur_out)")
            text = text.replace("(loss_layer)].output[0]", "(loss_layer)].output")
            text = text.replace("_prepare_4d_causal_attention_mask", "AttentionMaskConverter as _unused")
            module = types.ModuleType(f"memit_ARE.{name}")
            module.__package__ = "memit_ARE"
            vars(module)["first"] = first
            sys.modules[module.__name__] = module
            exec(compile(text, name, "exec"), vars(module))
        yield SimpleNamespace(**vars(sys.modules["memit_ARE.memit_ARE_main"]), module=module)
    finally:
        sys.path.remove(str(CHECKOUT))
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in ("memit_ARE", "util", "nltk"):
                del sys.modules[name]


@pytest.mark.parametrize("name", ["qwen3", "mistral", "smollm2-135m"])
def test_probabilities_agree_with_the_authors_code(released: SimpleNamespace, name: str, tmp_path: Path) -> None:
    """One text after another, each written into what the one before it left; the second moments are ours."""
    if name == "smollm2-135m":
        session = EngineSession.open(EngineSettings(name, device="cpu", dtype="float32"))
        forward, layers, steps = session.forward, (4, 6, 8), 12
    else:
        forward, layers, steps = make_forward(name, torch.float32), (0, 2), 12
    host = forward.host
    editor = make(
        forward, tmp_path, layers=layers, v_num_grad_steps=steps, window_size=8, clamp_norm_factor=4.0, mom2_ridge=0.1
    )
    editor.prepare()
    model: Any = copy.deepcopy(host.model)
    tokenizer = copy.deepcopy(host.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    hp = SimpleNamespace(
        **{key: getattr(editor._hp, key) for key in ("v_num_grad_steps", "v_lr", "v_loss_layer", "v_weight_decay")},
        clamp_norm_factor=4.0,
        mom2_update_weight=editor._hp.mom2_update_weight,
        mom2_dataset="",
        mom2_n_samples=1,
        mom2_dtype="float32",
        layers=list(layers),
        window_size=8,
        overlap=0,
        layer_module_tmp="model.layers.{}",
        rewrite_module_tmp="model.layers.{}.mlp.down_proj",
        ln_f_module="model.norm",
        # a tied head has no name of its own among the parameters
        lm_head_module="model.embed_tokens" if host.config.tie_word_embeddings else "lm_head",
    )
    by_name = {host.down_projection_path(layer): regular(editor, layer).float() for layer in layers}
    released.module.get_cov = lambda _model, _tok, layer_name, *_args, **_kwargs: by_name[layer_name]
    jobs = [EditJob("a", step, (request,)) for step, request in enumerate(REQUESTS, start=1)]
    written: Any = ()
    base, apart, moved = log_ps(host.model, host, REQUESTS), [], []
    for job in jobs:
        (request,) = job.requests
        with contextlib.redirect_stdout(io.StringIO()):
            released.module.apply_memit_ARE_to_model(
                model, tokenizer, hp, [{"question": request.question, "answer": f" {request.target_new}"}]
            )
        (result,) = editor.edit([EditJob("a", job.step, job.requests, written)])
        assert result.error is None
        written = result.model
        with Overlay(host, [written]).serving(0):
            ours = log_ps(host.model, host, REQUESTS)
        expected = log_ps(model.requires_grad_(False), host, REQUESTS)
        apart += [abs(a - b) for a, b in zip(ours, expected, strict=True)]
        moved += [abs(a - b) for a, b in zip(expected, base, strict=True)]
    print(f"{name}: |d log p| median {statistics.median(apart):.2g}, at most {max(apart):.2g}; ", end="")
    print(f"the edits move log p by {statistics.median(moved):.2g} (median)")
    assert statistics.median(apart) <= BOUND
    assert statistics.median(moved) > 10 * BOUND
