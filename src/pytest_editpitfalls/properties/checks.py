"""The properties: each takes an editor and a sequence of edits, and raises `PropertyFailed` where it does not hold.

Log-probabilities are means over the target's tokens, in nats. Two are the same where they differ by no more than

- epsilon (`EditorBench.epsilon`, 0.1 where the editor says nothing else): present object, idempotent, commute;
- rounding of the dtype (`EditorBench.rounding`): neighbours, isolated, an editor's own restoration;
- nothing on a CPU, rounding on a GPU (`EditorBench.exact`): deterministic, the base model after an edit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .bench import Asked, EditorBench, LogProbabilities
from .drawn import Edits, PropertyFailed, are_unrelated, in_words
from .leaving_out import left_out


def check_present_object(bench: EditorBench, edits: Edits) -> None:
    """An edit to the object that the model prefers already changes nothing of what no edit is about."""
    with left_out():
        present = tuple(edit.fact.edited(bench.present(edit.fact)) for edit in edits)
        answers = bench.answers(present)
        _same(
            answers.base,
            answers.last,
            bench.held_out(present),
            ("before", "after"),
            edits=present,
            epsilon=bench.epsilon("present_object"),
            what="the object that the model prefers already was written",
        )


def check_idempotent(bench: EditorBench, edits: Edits) -> None:
    """The same edit twice is the same edit."""
    with left_out():
        twice = (*edits, edits[-1])
        answers = bench.answers(twice)
        _same(
            answers.states[-2],
            answers.last,
            answers.last,
            ("once", "twice"),
            edits=twice,
            epsilon=bench.epsilon("idempotent"),
            what="the last edit was made again",
        )


def check_commute(bench: EditorBench, edits: Edits) -> None:
    """Edits of unrelated subjects give the same in either order."""
    with left_out(unless=len(edits) > 1 and are_unrelated(edits)):
        forwards, backwards = bench.answers(edits), bench.answers(edits[::-1])
        _same(
            forwards.last,
            backwards.last,
            forwards.last,
            ("in this order", "in the other"),
            edits=edits,
            epsilon=bench.epsilon("commute"),
            what="the edits have no subject and no object in common, and their order matters",
        )


def check_restoration(bench: EditorBench, edits: Edits) -> None:
    """The base model answers after an edit as before; where the editor says so, writing the old object restores it."""
    with left_out():
        (before,), _, (after,) = bench.run([[((), edits)], [(edits, ())], [((), edits)]])
        what = "the base model does not answer as before once the edited one has been asked"
        _same(
            before.base,
            after.base,
            before.base,
            ("before", "after"),
            edits=edits,
            epsilon=bench.exact,
            what=what,
        )
        if bench.declaration.restores:
            back = (*edits, *(edit.back for edit in reversed(_first_of_each(edits))))
            answers = bench.answers(back)
            _same(
                answers.base,
                answers.last,
                answers.last,
                ("before all edits", "after them"),
                edits=back,
                epsilon=bench.rounding,
                relative=True,
                what="the editor says that writing the old objects again gives the unedited model",
            )


def check_neighbours(bench: EditorBench, edits: Edits) -> None:
    """What an edit gives does not depend on the edits in its batch, nor on their order."""
    with left_out(unless=len(edits) > 1):
        each = [(edit,) for edit in dict.fromkeys(edits)]
        for batch, words in ((each, "together"), (each[::-1], "together, in the other order")):
            (together,) = bench.run([[(one, ()) for one in batch]])
            for one, answers in zip(batch, together, strict=True):
                alone = bench.answers(one)
                _same(
                    alone.last,
                    answers.last,
                    alone.last,
                    ("alone", words),
                    edits=edits,
                    epsilon=bench.rounding,
                    relative=True,
                    what=f"they are independent of one another, and '{one[0]}' depends on its batch",
                )


def check_declared_weights(bench: EditorBench, edits: Edits) -> None:
    """Nothing outside of the declared weights changes, and nothing in the base model."""
    with left_out():
        written = bench.written(edits)
        wrong = [f"the base model's {name}" for name in written.in_base]
        if written.declared is not None:
            wrong += written.outside
        if wrong:
            declared = ", ".join(written.declared or ()) or "nothing"
            raise PropertyFailed(
                "\n".join((*in_words(edits), f"changed: {', '.join(wrong)}", f"the editor declares: {declared}"))
            )


def check_deterministic(bench: EditorBench, edits: Edits) -> None:
    """Under one seed an editor gives the same again."""
    with left_out():
        (first,), (second,) = bench.run([[(edits, ())], [(edits, ())]], fresh=True)
        _same(
            first.last,
            second.last,
            first.last,
            ("the first time", "the second time"),
            edits=edits,
            epsilon=bench.exact,
            what=f"both times under seed {bench.session.settings.seed}",
        )


def check_isolated(bench: EditorBench, edits: Edits) -> None:
    """What an edit gives does not depend on cases that were edited before it."""
    with left_out():
        each = [(edit,) for edit in edits]
        one_after_another = bench.run([[(one, ())] for one in (*each, each[0])])
        for number, (one, (answers,)) in enumerate(zip((*each, each[0]), one_after_another, strict=True)):
            alone = bench.answers(one)
            before = ("nothing", "the case of edit 1")[number] if number < 2 else f"the cases of edits 1 to {number}"
            _same(
                alone.last,
                answers.last,
                alone.last,
                ("in a process of its own", f"after {before}"),
                edits=(*edits, edits[0])[: number + 1],
                epsilon=bench.rounding,
                relative=True,
                what="each edit is a case of its own that starts at the unedited model",
            )


def _first_of_each(edits: Edits) -> Edits:
    return tuple({edit.fact: edit for edit in reversed(edits)}.values())[::-1]


def _same(
    one: LogProbabilities,
    other: LogProbabilities,
    asked: Iterable[Asked],
    words: tuple[str, str],
    *,
    edits: Edits,
    epsilon: float,
    what: str,
    relative: bool = False,
) -> None:
    """Raise `PropertyFailed` where two models differ; what differs most is named.

    Args:
        relative: whether a log-probability below -1 may differ by epsilon times its size.
    """
    found = []
    for prompt, target in asked:
        first, second = one[prompt, target], other[prompt, target]
        allowed = epsilon * (max(1.0, abs(first)) if relative and math.isfinite(first) else 1.0)
        difference = 0.0 if first == second else abs(first - second)
        found.append((not difference <= allowed, difference, (prompt, target), first, second, allowed))
    failed = [each for each in found if each[0]]
    if not failed:
        return
    _, difference, (prompt, target), first, second, allowed = max(failed, key=lambda each: each[1])
    raise PropertyFailed(
        "\n".join(
            (
                *in_words(edits),
                what,
                f"log p of '{target}' after '{prompt}': {first:.4g} {words[0]}, {second:.4g} {words[1]}; "
                f"they differ by {difference:.3g}, more than {allowed:.3g}"
                + (f" (and {len(failed) - 1} more of {len(found)})" if len(failed) > 1 else ""),
            )
        )
    )
