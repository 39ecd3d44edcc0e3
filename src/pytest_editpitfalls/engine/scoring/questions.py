"""The questions, and which prompts share a pass, a start, or the tokens of another prompt. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_editpitfalls.engine.overlay import Overlay

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """How likely is ``target`` after ``prompt`` for edited model number ``model``? All are token ids."""

    model: int
    prompt: Tokens
    target: Tokens


Answers = dict[tuple[Tokens, int], dict[Tokens, float]]
"""(prompt, edited model) -> target -> its summed log-probability."""


class Text(NamedTuple):
    """What runs as one row: a prompt, and the tokens behind it that predict the rest of a target."""

    prompt: Tokens
    behind: Tokens


@dataclass(frozen=True, slots=True)
class Follower:
    """A text that starts as another one: only the rest of it is run, behind that one's first tokens."""

    text: Text
    shared: int


SHARED_TOKENS = 64
"""Tokens that prompts must have in common at their start before these are encoded only once for all of them."""

FOLLOWED_TOKENS = 3
"""Tokens that a prompt must have in common with another one to follow it: with fewer, keeping them costs more."""


def behind(targets: Iterable[Tokens]) -> Tokens:
    """What runs behind a prompt in its own pass: its only target of several tokens, without the last one."""
    long = [target for target in targets if len(target) > 1]
    return long[0][:-1] if len(long) == 1 else ()


def in_common(one: Tokens, other: Tokens) -> int:
    """Number of equal tokens at the start of both."""
    shorter = min(len(one), len(other))
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), shorter)


def texts_of(answers: Answers) -> dict[Text, list[int]]:
    """Each text with the edited models that are asked.

    What stands behind a prompt changes nothing before it: a model that is asked nothing there is served by the same
    row, so that the blocks that all models share run once per prompt.
    """
    texts: dict[Text, list[int]] = {}
    for (prompt, model), found in answers.items():
        texts.setdefault(Text(prompt, behind(found)), []).append(model)
    longer = {text.prompt: text for text in texts if text.behind}
    for text in [text for text in texts if not text.behind and text.prompt in longer]:
        texts[longer[text.prompt]] += texts.pop(text)
    return texts


def by_common_start(texts: Mapping[Text, Sequence[int]], overlay: Overlay) -> list[tuple[Tokens, list[Text]]]:
    """Texts in groups, each with the tokens that it starts with where it pays to encode these only once.

    Prompts of one edited model share much where the edit is text before the prompt. Changed models are left alone:
    what they do may depend on the whole prompt.
    """
    groups: dict[tuple[int, ...], list[Text]] = {}
    plain: list[Text] = []
    for text, models in texts.items():
        (plain if any(map(overlay.changes, models)) else groups.setdefault(tuple(sorted(models)), [])).append(text)
    found = []
    for group in groups.values():
        prompts = [text.prompt for text in group]
        lowest, highest = min(prompts), max(prompts)
        limit = min(map(len, prompts)) - 1  # something of each prompt has to be left
        common = min(in_common(lowest, highest), limit)
        if len(group) > 1 and common >= SHARED_TOKENS:
            found.append((lowest[:common], group))
        else:
            plain += group
    return [*found, ((), plain)] if plain else found


def following(
    texts: Mapping[Text, Sequence[int]], answers: Answers, overlay: Overlay
) -> dict[tuple[Text, int], list[Follower]]:
    """Texts that follow another one of the same edited model, by the one that they follow and the model.

    A leader is never a follower. Paraphrases of a fact and of the fact that replaces it differ at their subject only.
    """
    found: dict[tuple[Text, int], list[Follower]] = {}
    starts: dict[tuple[int, Tokens], Text] = {}
    for text in sorted(texts, key=lambda each: -len(texts[each])):  # texts that more models are asked lead
        prompt = text.prompt
        # No more than what is worth a pass of its own (`by_common_start`): every start is noted.
        longest = min(len(prompt), SHARED_TOKENS)
        for model in texts[text]:
            asked = answers[prompt, model]
            apart = not behind(asked) and any(len(target) > 1 for target in asked)
            if apart or not overlay.token_wise(model):
                continue
            lengths = range(min(len(prompt) - 1, longest), FOLLOWED_TOKENS - 1, -1)
            shared = next((length for length in lengths if (model, prompt[:length]) in starts), None)
            if shared is not None:
                leader = starts[model, prompt[:shared]]
                found.setdefault((leader, model), []).append(Follower(text, shared))
            else:
                for length in range(FOLLOWED_TOKENS, longest + 1):
                    starts.setdefault((model, prompt[:length]), text)
    return found


def that_share(overlay: Overlay, pairs: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """(text, model) pairs cut into groups that may share a pass; models that must be alone come each in one go."""
    groups: dict[int | None, list[tuple[int, int]]] = {}
    for text, model in pairs:
        groups.setdefault(model if overlay.alone(model) else None, []).append((text, model))
    return list(groups.values())
