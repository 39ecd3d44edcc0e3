"""Each case in a forked process of its own (``--pitfalls-isolate``): whatever an editor keeps goes with the process.

The model is loaded and the editor prepared once; a child shares that memory until it writes to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from pytest_editpitfalls.engine.settings import Progress, ProgressCallback
from pytest_editpitfalls.errors import CaseError, PitfallsError, UntrustedEditor, UsageError
from pytest_editpitfalls.program import CaseScores, ProbeScore, Program, SuitePrograms

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.session import EngineSession

OPTION = "--pitfalls-isolate"


class ForkedCases:
    """Runs programs one after another, each in a child of this process.

    To be made before torch is imported: a pool of threads that exists already does not live on in a child, and waiting
    for it would never end. Where somebody was faster, children have one thread.
    """

    def __init__(self) -> None:
        self._is_first = "torch" not in sys.modules
        self._threads = 1

    def opened(self) -> None:
        """torch has been imported, and nothing has been computed yet: this process computes with one thread."""
        from pytest_editpitfalls.engine import threads

        if self._is_first:
            threads.keep_to_cores()  # before this process keeps to one
            self._threads = threads.count()
            threads.use(1)

    def run(
        self,
        session: EngineSession,
        editor: str,
        programs: Sequence[Program],
        progress: ProgressCallback,
        suite: SuitePrograms | None,
        identity: Callable[[], str | None] | None = None,
    ) -> list[CaseScores]:
        """Edit and score as `EngineSession.run`; a child that dies is an error of its case.

        Raises:
            UsageError: as `EngineSession.run`, or the model is on a GPU.
        """
        if session.host.device.type != "cpu":
            raise UsageError(
                "a process that uses a GPU cannot be forked",
                where=OPTION,
                fix="add --pitfalls-device=cpu, or leave it out and give the editor a reset()",
            )
        session.prepare(editor, progress)
        answers = []
        for done, program in enumerate(programs):
            answers.append(self._in_child(program.case_id, partial(_only, session, editor, program, suite, identity)))
            progress(Progress("edit", done + 1, len(programs)))
        return answers

    def _in_child(self, case_id: str, work: Callable[[], CaseScores]) -> CaseScores:
        try:
            return scores_from(answer_of_child(lambda: asdict(work()), self._threads))
        except ChildEnded as ended:
            return CaseScores(case_id, error=f"{ended} ({OPTION})")


class ChildEnded(Exception):
    """A forked process ended without an answer; says how."""


def answer_of_child(work: Callable[[], Any], threads: int = 1) -> Any:
    """Do some work in a forked process, and return what it gave, read from JSON.

    Args:
        work: what it gives must be of plain JSON types.
        threads: of torch, in the child.

    Raises:
        ChildEnded: the process ended without an answer.
        PitfallsError: what the work raised: `UsageError`, `UntrustedEditor`, or else `CaseError`.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else the child would write it a second time
    # A file and no pipe: a process that the editor starts may hold a pipe open for ever.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as sent:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads of ours wait, and hold no lock
            child = os.fork()
        if child == 0:
            _be_child(sent, work, threads)
        status = _end_of(child)
        if status != 0:
            raise ChildEnded(f"its process ended {_how(status)}")
        sent.seek(0)
        found = json.loads(sent.read())
    if "raised" in found:
        kinds = {kind.__name__: kind for kind in (UsageError, UntrustedEditor)}
        raise kinds.get(found["raised"], CaseError)(found["what"], where=found["where"], fix=found["fix"])
    return found["answer"]


def _be_child(file: TextIO, work: Callable[[], Any], threads: int) -> NoReturn:
    """Work, leave the answer and end, whatever happens; nothing of pytest's own end may run here."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        from pytest_editpitfalls.engine import threads as of_torch

        of_torch.use(threads)
        try:
            answer: dict[str, Any] = {"answer": work()}
        except PitfallsError as error:
            answer = {"raised": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix}
        json.dump(answer, file)
        file.flush()
        status = 0
    except BaseException:
        traceback.print_exc()  # with -s it is seen; the parent says that the process ended
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _only(
    session: EngineSession,
    editor: str,
    program: Program,
    suite: SuitePrograms | None,
    identity: Callable[[], str | None] | None,
) -> CaseScores:
    return session.run(editor, [program], suite=suite, identity=identity)[0]


def _end_of(child: int) -> int:
    """Wait for a child, and end it where an exception comes first; its exit status, negative for a signal."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise


def scores_from(found: Mapping[str, Any]) -> CaseScores:
    """Read the scores of a case from their fields as plain JSON types."""
    probes = tuple(
        ProbeScore(**{**each, "probabilities": tuple(each["probabilities"]), "texts": tuple(each["texts"])})
        for each in found["probes"]
    )
    return CaseScores(**{**found, "notes": tuple(found["notes"]), "probes": probes})


def _how(status: int) -> str:
    if status >= 0:
        return f"with exit status {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
