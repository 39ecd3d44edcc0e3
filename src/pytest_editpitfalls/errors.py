"""What went wrong, where, and how to fix it: the one error type that users see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .escaping import visible

_LONGEST = 4000
"""Characters that are shown of each part of a message: parts may quote what a file holds."""


class PitfallsError(Exception):
    """A mistake that the user can repair; shown as one message, never as a traceback.

    As text it is safe for a terminal: what it quotes from a file or an editor is escaped, and cut where it is long.

    Args:
        what: what is wrong, in one sentence.
        where: the option, file and line, field or case that it was found in.
        fix: what to do about it.
    """

    _keeps_lines = False

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        what = visible(self.what, keep_newlines=self._keeps_lines, at_most=_LONGEST)
        text = f"{visible(self.where, at_most=_LONGEST)}: {what}" if self.where else what
        return f"{text}\n  fix: {visible(self.fix, at_most=_LONGEST)}" if self.fix else text


class UsageError(PitfallsError):
    """A wrong command line, configuration or suite file: pytest's usage-error exit (4)."""


class UntrustedEditor(UsageError):
    """An editor whose declaration turned out wrong: what it has answered before cannot be believed either."""


class CaseError(PitfallsError):
    """One case cannot be computed (a diverging edit, a broken editor): an error of that item only."""

    _keeps_lines = True  # the exceptions of torch and of editors have several


class UnscorableCase(PitfallsError):
    """One case cannot be asked of this model at all (a target without tokens): skipped with the reason."""


class RowError(ValueError):
    """What a row says is not consistent.

    Args:
        field: the field that is wrong ("edits.1.subject").
        what: what is wrong, in one sentence.
        fix: what to write instead.
    """

    def __init__(self, field: str, what: str, fix: str) -> None:
        super().__init__(what)
        self.field, self.what, self.fix = field, what, fix


def did_you_mean(word: str, known: Iterable[str], also: Mapping[str, str] | None = None) -> str:
    """Return ``did you mean 'x'?`` or the list of the known names, for use as a ``fix``.

    Args:
        also: what people call a known name elsewhere ("bf16") -> that name.
    """
    import difflib  # pytest loads this module at every start

    names = sorted(set(known))
    word = (also or {}).get(word.lower(), word)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        match = next(name for name in names if name.lower() == close[0])
        return f"did you mean '{match}'? (known: {', '.join(names)})"
    return f"known: {', '.join(names) if names else 'none'}"


def check_choice(
    word: str, known: Iterable[str], *, what: str, where: str, also: Mapping[str, str] | None = None
) -> None:
    """Raise `UsageError` where a value is none of the few that there are.

    Args:
        what: what it names ("dtype").
        where: the option.
        also: as of `did_you_mean`.
    """
    names = tuple(known)
    if word not in names:
        raise UsageError(f"unknown {what} '{word}'", where=where, fix=did_you_mean(word, names, also))
