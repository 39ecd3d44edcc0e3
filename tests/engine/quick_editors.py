"""Every editor that ships, with few steps, on a loaded model: for tests of what all of them do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import EditedModel, prefix_of
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.settings import EngineSettings
from tests.engine.locate_then_edit import CORPUS, REQUESTS, TEMPLATES

TRAINED = [each.name for each in shipped_editors() if each.training]
"""They need a network that was trained, and do nothing but apply it."""

QUICK: dict[str, Any] = {
    "context_templates": TEMPLATES[:2],
    "context_template_length_params": [[4, 1]],
    "mom2_ridge": 0.1,
    "nullspace_threshold": 0.5,
    "v_num_grad_steps": 2,
    "v_lr": 0.3,
    "num_steps": 2,
    "lr": 0.01,
    "n_iter": 2,
    "nas_norm": 20.0,
}
"""By the names that most hyper-parameters have; an editor takes those that it knows."""

PROMPTS = ["The capital of France is", "The mother of the king is"]
TARGETS = ["Rome", "the queen of Spain"]


def made(name: str, forward: Forward, directory: Path) -> Any:
    """The editor; raises `UsageError` where it does not edit models of this family."""
    declaration = EDITORS.get(name, where="test")
    kind = declaration.hyperparameter_class()
    corpus = directory / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    known = QUICK | {"mom2_corpus": str(corpus)}
    values = {key: value for key, value in known.items() if key in kind.model_fields}
    if name == "simie":
        values = {"hparams": {key: known[key] for key in ("context_templates", "mom2_corpus", "mom2_ridge")}}
        values["hparams"]["v_num_grad_steps"] = QUICK["v_num_grad_steps"]
    if name == "grace" and forward.host.family.mixture:
        values["module"] = forward.host.family.mlp
    hp = resolve_hyperparameters(name, kind, "tiny", forward.n_layers, values)
    moments = SecondMoments(forward, fingerprint=str(id(forward)), cache=directory, max_tokens=500)
    return declaration.make(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


def answers(name: str, forward: Forward, directory: Path, edits: int = 1, cases: int = 2) -> list[float]:
    """Log-probabilities by the base model, and by that of each case with edits written by the editor."""
    editor, models = made(name, forward, directory), [()]
    editor.prepare()
    jobs = [EditJob(f"case {place}", 1, (request,)) for place, request in enumerate(REQUESTS[:cases])]
    for step in range(edits):
        results = editor.edit(jobs)
        assert not any(result.error for result in results), results
        models: list[EditedModel] = [(), *(result.model for result in results)]
        jobs = [
            EditJob(job.case_id, step + 2, (REQUESTS[2],), result.model, result.state)
            for job, result in zip(jobs, results, strict=True)
        ]
    encoder = forward.host.encoder
    asked = [
        Question(model, encoder.prompt(prefix_of(edited) + prompt), encoder.target(target))
        for model, edited in enumerate(models)
        for prompt in PROMPTS
        for target in TARGETS
    ]
    found = Scorer(forward, max_tokens=60).mean_log_probs(models, asked)
    assert len(set(found)) > len(PROMPTS) * len(TARGETS), "no edit has changed anything"
    return found
