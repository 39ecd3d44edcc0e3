"""Whether a tokenizer can be this model's. Torch-free.

An id without a row in the embedding would otherwise end in an index error in the middle of a batch; on CUDA it ends the
process.
"""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.errors import UsageError

_ROLES = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")

_PADDING = 0.1
"""Rows that no token has, as a share of all: padding for speed is less than that."""


def check_tokenizer(tokenizer: Any, config: Any, rows: int, where: str) -> None:
    """Refuse a tokenizer with ids that the embedding has no row for, and one that is clearly another model's.

    Fewer ids than rows are fine: embeddings are padded. A special token beyond the rows that has no role is, too:
    Gemma 3's text models come with a placeholder for images. `Encoder` refuses a text that spells it out.

    Args:
        config: the model's; what it calls the first and last token of a text is compared.
        rows: of the token embedding.

    Raises:
        UsageError: the tokenizer does not fit.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    roles = {role: getattr(tokenizer, f"{role}_token_id", None) for role in _ROLES}
    unused = {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and number not in roles.values()
    }
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows and number not in unused)
    if beyond:
        number, token = beyond[0]
        held = [role for role, known in roles.items() if known == number]
        name = f"{token!r}, its {held[0]} token," if held else repr(token)
        raise UsageError(
            f"the tokenizer has {len(beyond)} token(s) that the model has no embedding for: "
            f"{name} has the id {number}, and the embedding {rows} rows",
            where=where,
            fix="use the tokenizer that was saved with the model; if tokens were added to it, "
            "extend the model before saving: model.resize_token_embeddings(len(tokenizer))",
        )
    known = 1 + max(vocabulary.values(), default=-1)
    wrong = [role for role in ("bos", "eos") if _differs(roles[role], getattr(config, f"{role}_token_id", None))]
    right = [role for role in ("bos", "eos") if roles[role] is not None and role not in wrong]
    if known < (1 - _PADDING) * rows and wrong and not right:
        asked = getattr(config, f"{wrong[0]}_token_id")
        raise UsageError(
            f"the tokenizer is another model's: it has ids for {known} of {rows} embeddings, and its {wrong[0]} token "
            f"is {roles[wrong[0]]}, where config.json says {asked}",
            where=where,
            fix="use the tokenizer that was saved with the model",
        )


def _differs(found: int | None, asked: Any) -> bool:
    """Whether both are known and are different; a config may name several."""
    if found is None or asked is None:
        return False
    return found not in (asked if isinstance(asked, list | tuple) else [asked])
