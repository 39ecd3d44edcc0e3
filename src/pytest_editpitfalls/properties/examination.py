"""Looks for edits that show that an editor does not have a property, and for the shortest of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hypothesis import HealthCheck, Phase, Verbosity, given, reject, seed, settings
from hypothesis.errors import Unsatisfiable

from pytest_editpitfalls.errors import CaseError, UsageError

from .bench import EditorBench
from .catalogue import Property
from .drawn import Edits, PropertyFailed, TooSlow
from .strategies import SearchStrategy, edit_sequences, related_edits, unrelated_edits

EXAMPLES = 3
"""Sequences of edits that are looked at for each property."""

SHRINKING = 20
"""Sequences that are looked at for a shorter one, once one has failed."""


@dataclass(frozen=True)
class Finding:
    """What came of looking at a property.

    Attributes:
        edits: the shortest sequence that was found to fail; None: none did.
        failure: what is wrong there, in words.
        examples: how many sequences were looked at.
        skipped: why none could be looked at; None where some were.
    """

    edits: Edits | None = None
    failure: str = ""
    examples: int = 0
    skipped: str | None = None


def examine(
    bench: EditorBench, wanted: Property, *, examples: int = EXAMPLES, drawn_under: int = 0, shrink: bool = True
) -> Finding:
    """Draw sequences of edits and check each.

    Args:
        examples: how many.
        drawn_under: seed of hypothesis: the same seed draws the same.
        shrink: whether a shorter sequence is looked for once one has failed.

    Raises:
        TooSlow: a computation took longer than the bench lets it; no shorter sequence is looked for.
        CaseError: the editor fails on the shortest sequence that was found to make it fail.
        UsageError: the editor or the model cannot be used at all.
    """
    looked: dict[Edits, Exception | None] = {}
    failing: list[Edits] = []
    refused: list[UsageError | TooSlow] = []

    def look(edits: Edits) -> None:
        if refused:
            raise refused[0]
        if edits not in looked:
            if failing and len(looked) - looked_before[0] >= SHRINKING:
                reject()  # enough: what has been found is short
            try:
                wanted.check(bench, edits)
                looked[edits] = None
            except (UsageError, TooSlow) as error:
                refused.append(error)
                raise
            except (PropertyFailed, CaseError) as error:
                looked[edits] = error
                if not failing:
                    looked_before[0] = len(looked)
        # what failed once stays so, also of an editor that is not deterministic: the shortest one is shown
        if (known := looked[edits]) is not None:
            failing.append(edits)
            raise known

    looked_before = [0]
    strategies: dict[str, Callable[..., SearchStrategy[Edits]]] = {
        "any": partial(edit_sequences, min_size=wanted.least),
        "unrelated": partial(unrelated_edits, min_size=wanted.least),
        "related": related_edits,
    }
    strategy = strategies[wanted.drawn]
    run = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )(seed(drawn_under)(given(strategy(bench.facts))(look)))
    try:
        run()
    except PropertyFailed as error:
        return Finding(failing[-1], str(error), len(looked))
    except TooSlow:
        raise
    except CaseError as error:
        raise CaseError(error.what, where=error.where, fix=error.fix) from None
    except Unsatisfiable:
        return Finding(skipped="the model's tokenizer can write none of the edits that were drawn")
    return Finding(examples=len(looked))


def replay(bench: EditorBench, wanted: Property, edits: Edits) -> Finding:
    """Check one sequence; raises as `examine`.

    Raises:
        UsageError: the property says nothing of these edits.
    """
    from hypothesis.errors import UnsatisfiedAssumption

    try:
        wanted.check(bench, edits)
    except PropertyFailed as error:
        return Finding(edits, str(error), 1)
    except UnsatisfiedAssumption:
        raise UsageError(
            f"'{wanted.name}' says nothing of these edits: they are too few, not unrelated, or cannot be written",
            where="--pitfalls-example",
            fix=f"give {wanted.least} edit(s) or more that fit: {wanted.says}",
        ) from None
    return Finding(examples=1)
