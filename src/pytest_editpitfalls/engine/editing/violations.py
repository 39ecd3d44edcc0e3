"""Properties that kinds of editors are known not to have, with the reason. Torch-free."""

from __future__ import annotations

_ON_TOP = "the second edit is computed on the model that the first one left"

TRAINS = {
    "present_object": "it trains until the object's loss is small, also where the model prefers the object already",
    "idempotent": "the second edit goes on training where the first one stopped",
    "commute": _ON_TOP,
}
"""Fine-tuning in all its forms."""

STEPS = {
    "present_object": "it takes its step also where the model prefers the object already",
    "idempotent": "the second edit takes one more step from the edited model",
    "commute": _ON_TOP,
}
"""One step made of gradients."""

LOCATES = {
    "present_object": "it makes the object likelier, also where the model prefers it already, and the update "
    "reaches other prompts",
    "idempotent": "the second edit adds an update of its own to the edited model",
    "commute": _ON_TOP,
}
"""Locate-then-edit."""

PREFIXES = {
    "present_object": "text before the prompt changes every answer",
    "idempotent": "the fact then stands before the prompt twice",
    "commute": "the facts stand before the prompt in the order of the edits",
}
"""Editing in context."""
