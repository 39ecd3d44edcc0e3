"""What an editor raised, kept for whoever reports its case: between the two there are only texts.

Nothing is kept unless somebody will look at it: the frames of a traceback hold what the editor made, copies of the
model among it.
"""

from __future__ import annotations

import traceback
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Wanted = Literal["nothing", "lines", "variables"]
"""What is shown of a cause: its lines of code, or the variables in its frames, too."""

Raised = dict[str, tuple[str, BaseException]]
"""By whom the edits belong to (`program.cause_id`): the text that is reported, and what was raised."""


class Causes:
    """The causes of the cases of a run.

    Attributes:
        wanted: what is kept. With "lines" the frames are emptied; with "variables" one cause has them at a time, the
            first of a batch, which is the one that a debugger stops at.
    """

    def __init__(self) -> None:
        self.wanted: Wanted = "nothing"
        self._raised: Raised | None = None
        self._of_cases: dict[Hashable, BaseException] = {}
        self._whole: BaseException | None = None

    @contextmanager
    def of_batch(self) -> Iterator[Raised]:
        """While open, what is raised is collected; outside of a batch there is nobody to show it to."""
        self._let_go()
        self._raised = {}
        try:
            yield self._raised
        finally:
            self._raised = None

    def keep(self, owner: str, text: str, error: BaseException) -> None:
        """Keep what was raised in a batch.

        Args:
            owner: whose edits these are, by `program.cause_id`.
            text: what the case's error says, without the editor's name.
        """
        if self._raised is None or self.wanted == "nothing":
            return
        if self.wanted == "variables" and self._whole is None:
            self._whole = error
        else:
            _empty_frames(error)
        self._raised[owner] = (text, error)

    def assign(self, case: Hashable, raised: Mapping[str, tuple[str, BaseException]], owner: str, error: str) -> None:
        """Say that a case of the batch ended in ``error``; what was raised is its cause where that is what it says."""
        text, cause = raised.get(owner, ("", None))
        if cause is not None and (error == text or error.endswith(f"', {text}")):  # editor 'rome', edit 1: ...
            self._of_cases[case] = cause

    def take(self, case: Hashable) -> BaseException | None:
        """The cause of a case's error, once; None where none was kept, or it was raised in another process."""
        cause = self._of_cases.pop(case, None)
        if cause is self._whole:
            self._whole = None
        return cause

    def start(self, wanted: Wanted) -> None:
        """Begin a run: nothing is kept from one before."""
        self.wanted, self._whole = wanted, None
        self._of_cases.clear()

    def _let_go(self) -> None:
        if self._whole is not None:
            _empty_frames(self._whole)
            self._whole = None


def _empty_frames(error: BaseException) -> None:
    seen = set[int]()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            waiting += [each.__cause__, each.__context__]


CAUSES = Causes()
"""Those of this process."""
