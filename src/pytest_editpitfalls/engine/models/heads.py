"""Which class of transformers a checkpoint is loaded with: one whose head gives the logits of the next token."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.errors import UsageError

AUTO_CLASSES = {
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
}
"""Text alone is enough for both; the second take images, too. To each transformers' table of model types."""

_CAUSAL = ("ForCausalLM", "LMHeadModel", "Model")


def auto_class(config: Any, where: str) -> Any:
    """The Auto class for the checkpoint: the one that knows the class it was saved from, else the first with a head.

    Args:
        config: the checkpoint's config.
        where: the model, for messages.

    Raises:
        UsageError: the checkpoint was saved from a class without such a head, or transformers has none for its type.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    saved = (getattr(config, "architectures", None) or ("",))[0]
    known = {auto: getattr(modeling_auto, table).get(config.model_type) for auto, table in AUTO_CLASSES.items()}
    chosen = next((auto for auto, name in known.items() if name == saved), None)
    if chosen is None and (not saved or saved.endswith(_CAUSAL)):
        chosen = next((auto for auto, name in known.items() if name), None)
        if chosen is None:
            raise UsageError(
                f"transformers has no model of the type '{config.model_type}' that predicts the next token of a text",
                where=where,
                fix="use the checkpoint of a causal language model",
            )
    if chosen is None:
        raise UsageError(
            f"the checkpoint is a {saved}, which has no head that predicts the next token of a text",
            where=where,
            fix="use the checkpoint of the causal language model",
        )
    return getattr(transformers, chosen)
