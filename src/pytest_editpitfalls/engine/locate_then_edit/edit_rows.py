"""Token rows of locate-then-edit requests: context templates, subject positions, target positions.

A row is cut before the subject's last token. What comes before (the *prefix*) is the same in every optimisation step
and its keys and values are kept; the rest (the *suffix*) starts with the subject's last token, where the target vector
is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.engine.upper_blocks import PromptRow
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import EditRequest

KL_PROMPT = "{} is a"
"""The prompt of the KL row (kmeng01/rome, rome/compute_v.py)."""


@dataclass(frozen=True, slots=True)
class EditRow(PromptRow):
    """One row of one request, which is its ``job``; the KL row has no target.

    Attributes:
        bare: whether this is the row of the rewrite prompt without context.
    """

    bare: bool = False


def edit_rows(encoder: Encoder, job: int, request: EditRequest, templates: Sequence[str]) -> list[EditRow]:
    """Rows of one request: one per context template, then the KL row.

    Raises `CaseError` where the rewrite prompt has no ``{}`` or no token belongs to the subject, and
    `UnscorableCase` where the target has no tokens.
    """
    if "{}" not in request.prompt:
        raise CaseError(
            f"the rewrite prompt {request.prompt!r} has no {{}}",
            fix="put {} where the subject belongs in the prompt",
        )
    target = encoder.target(request.target_new, request.joiner)
    weight = 1 / (len(target) * len(templates))
    rows = []
    for template in templates:
        text = template.replace("{}", request.question, 1)
        start = template.index("{}") + request.prompt.index("{}")
        ids, last = encoder.subject_last(text, start, request.subject)
        rows.append(EditRow(job, ids, target, weight, last, template == "{}"))
    if not any(row.bare for row in rows):
        raise CaseError("the context templates lack the bare prompt", fix='add "{}" to context_templates')
    ids, last = encoder.subject_last(KL_PROMPT.replace("{}", request.subject, 1), 0, request.subject)
    # The KL term is read at the subject's last token, so nothing after it can matter.
    rows.append(EditRow(job, ids[: last + 1], (), 0.0, last))
    return rows
