"""What can be asked of an edited model: the forms of a probe. Pure; a program lists them, the engine answers them.

Every form has a name of its fact, a state, and texts that the model is given (`inputs`); its answer has one value for
each of these. What the values are says its `measure`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from .errors import UsageError

Measure = Literal["probability", "said", "perplexity", "divergence"]
"""What the values of a probe are: probabilities; 1 where the model said an answer, else 0 (or a judge's score between
them); perplexities, from 1 upwards; divergences in nats, from 0 upwards."""

Match = Literal["exact", "alias", "contains"]
"""How an answer is told in a generated text: the text is the first answer, it is one of them, or it contains one."""

Stop = Literal["sentence", "line", "never"]
"""Where a generated text ends before its last token."""


def unless(default: object) -> dict[str, Any]:
    """Metadata of a field that a digest leaves out where it has its default, so that older digests stay as they are."""
    return {"digest": lambda name, value: {} if value == default else {name: value}}


class _AfterPrompts:
    """A form that asks for something after each of its prompts."""

    __slots__ = ()
    prompts: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The texts that the model is given; each has one value."""
        return self.prompts


class _NoObject:
    """A form that is about no fact: there is no object that should follow."""

    __slots__ = ()
    subject: ClassVar[str] = ""
    relation: ClassVar[str] = ""
    joiner: ClassVar[str] = " "
    object: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Probe(_AfterPrompts):
    """A fact asked in one state: the probability of ``target`` after each of ``prompts``.

    Attributes:
        fact: the fact's name in the results ("old", "replaced", "new_exp", "other:0", ...).
        state: name of a `State`.
        prompts: complete prompts (subject filled in), rewrite prompt first, then the paraphrases.
        target: label of the object.
        subject: label of the subject, for reports; "" where nobody said.
        relation: relation id, for reports; "" where nobody said.
        joiner: what stands between prompt and target: one space, or nothing (Chinese, Japanese).
    """

    fact: str
    state: str
    prompts: tuple[str, ...]
    target: str
    # words alone: they make no other probe of it, neither in a comparison nor in a digest
    subject: str = field(default="", compare=False)
    relation: str = field(default="", compare=False)
    joiner: str = field(default=" ", metadata=unless(" "))

    measure: ClassVar[Measure] = "probability"

    @property
    def object(self) -> str:
        """What is expected to follow the prompts."""
        return self.target


@dataclass(frozen=True, slots=True)
class Generated(_AfterPrompts):
    """What the model says after each of ``prompts``: its greedy continuation, held against ``answers``.

    Raises `UsageError` without an answer, with an empty one, or without a token to generate.

    Attributes:
        fact, state, prompts, subject, relation, joiner: as in `Probe`.
        answers: what counts as right: the object's label first, then its other names.
        match: how an answer is told in the text (`pytest_editpitfalls.matching`).
        max_tokens: the most tokens that are generated.
        stop: where the text ends before that, apart from the model's own end of text: at the end of the first sentence
            or line, at that of the line only, or nowhere.
    """

    fact: str
    state: str
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    match: Match = "alias"
    max_tokens: int = 32
    stop: Stop = "sentence"
    subject: str = field(default="", compare=False)
    relation: str = field(default="", compare=False)
    joiner: str = field(default=" ", metadata=unless(" "))

    measure: ClassVar[Measure] = "said"

    @property
    def object(self) -> str:
        """What is expected to follow the prompts."""
        return self.answers[0]

    def __post_init__(self) -> None:
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise UsageError(
                f"a generated text is held against answers {self.answers!r}",
                where=f"fact '{self.fact}' in state '{self.state}'",
                fix="give at least one answer, and none that is empty",
            )
        if self.max_tokens < 1:
            raise UsageError(
                f"max_tokens is {self.max_tokens}",
                where=f"fact '{self.fact}' in state '{self.state}'",
                fix="let the model say at least one token",
            )


@dataclass(frozen=True, slots=True)
class Perplexity(_NoObject):
    """How well the model predicts each of ``texts``: ``exp(-mean log-probability)`` of its tokens after the first.

    Where an edit is text before the prompt, that stands before these texts, too, and the same tokens are counted.

    Attributes:
        fact, state: as in `Probe`.
        texts: whole texts of at least two tokens.
    """

    fact: str
    state: str
    texts: tuple[str, ...]

    measure: ClassVar[Measure] = "perplexity"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The texts that the model is given; each has one value."""
        return self.texts


@dataclass(frozen=True, slots=True)
class Divergence(_AfterPrompts, _NoObject):
    """How far the next token's distribution is from the base model's after each prompt: KL(base || edited), in nats.

    Attributes:
        fact, state, prompts: as in `Probe`.
    """

    fact: str
    state: str
    prompts: tuple[str, ...]

    measure: ClassVar[Measure] = "divergence"


AnyProbe: TypeAlias = Probe | Generated | Perplexity | Divergence
"""What can be asked in a state. Digests tell the forms apart by their fields."""
