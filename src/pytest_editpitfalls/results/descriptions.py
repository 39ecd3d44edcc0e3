"""What an engine says of an editor and a model, as the records of a result file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .records import EditorRecord, ModelRecord


def editor_record(editor: str, model: str, description: Mapping[str, Any]) -> EditorRecord:
    """Return the record of an editor on a model.

    Args:
        editor: label of the editor.
        model: label of the model.
        description: `EngineSession.describe` of both, or what a store has kept of it.
    """
    facts = _mapping(description.get("editor"))
    used = dict(_mapping(facts.get("hyperparameters")))
    if facts.get("context_templates") is not None:  # the sampled ones, as they were used
        used["context_templates"] = facts["context_templates"]
    return EditorRecord.model_validate(
        {
            "name": editor,
            "model": model,
            "hyper_parameters": used,
            "second_moment": facts.get("second_moment"),
            "batch": description.get("batch"),
        }
    )


def model_record(label: str, description: Mapping[str, Any]) -> ModelRecord:
    """Return the record of a model; the arguments are those of `editor_record`."""
    details = dict(_mapping(description.get("model")))
    known = {field: details.pop(field, None) for field in ("fingerprint", "family", "device", "dtype")}
    source = details.pop("name", None)
    details.pop("label", None)
    return ModelRecord.model_validate({"name": label, "source": source, **known, "details": details})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
