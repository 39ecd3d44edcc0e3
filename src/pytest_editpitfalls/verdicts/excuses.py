"""Why a failing case may be an expected failure: what its reason begins with, where it is one."""

from __future__ import annotations

JUDGED_BY_GATE = "pitfall, judged by gate"
KNOWN_PITFALL = "known pitfall, failed in the baseline"
ACCEPTED = "accepted into the baseline"


def is_our_excuse(reason: str | None) -> bool:
    """Whether an expected failure is one of ours, rather than one that a test's author expected (``xfail``)."""
    return reason is not None and reason.startswith((JUDGED_BY_GATE, KNOWN_PITFALL, ACCEPTED))
