"""The edited models that a program's states need, as a tree: each is its parent and one step more.

A state of 10,000 steps has 10,000 prefixes. As tuples they would take gigabytes; here each is one small object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.program import State

Steps = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Prefix:
    """The edited model after some steps.

    Attributes:
        parent: the model before its last step; None is the base model itself, which has no step.
        step: index of its last step in `Program.steps`.
        depth: how many steps it has.
        asked: whether a state of the program names it: it is kept until the case is scored.
        then: the models that are one step further, by that step.
    """

    parent: Prefix | None = None
    step: int = -1
    depth: int = 0
    asked: bool = False
    then: dict[int, Prefix] = field(default_factory=dict, repr=False)

    @property
    def steps(self) -> Steps:
        """All its steps, in order."""
        found: list[int] = []
        here = self
        while here.parent is not None:
            found.append(here.step)
            here = here.parent
        return tuple(reversed(found))

    def after(self, step: int) -> Prefix:
        """Return the model after one step more."""
        if step not in self.then:
            self.then[step] = Prefix(self, step, self.depth + 1)
        return self.then[step]

    def below(self) -> Iterator[Prefix]:
        """Give all further models, in the order of their steps: each behind its parent."""
        waiting = [self.then[step] for step in sorted(self.then, reverse=True)]
        while waiting:
            here = waiting.pop()
            yield here
            waiting += [here.then[step] for step in sorted(here.then, reverse=True)]


def prefixes_of(states: Sequence[State]) -> tuple[Prefix, dict[Steps, Prefix]]:
    """Return the base model, from which all others are reached, and the models that the states name."""
    base = Prefix()
    asked: dict[Steps, Prefix] = {}
    for state in states:
        here = base
        for step in state.steps:
            here = here.after(step)
        here.asked = True
        asked[state.steps] = here
    return base, asked
