"""Plugins of other people that repeat tests. (`test_distribution.py` shuffles them.)"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from plugin_helpers import case_ids


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_what_counts_is_the_last_attempt(project, workers):
    """pytest-rerunfailures: a test that fails once and then passes has passed, in our figures as in pytest's."""
    unsteady, losing = case_ids("reverse", 4)[:2]
    project.engine(lose=[losing])
    (project.path / "test_own.py").write_text(
        "import pytest\nseen = []\n"
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_case, pitfall_outcome):\n"
        "    seen.append(pitfall_case.id)\n"
        f"    assert pitfall_case.id != {unsteady!r} or seen.count(pitfall_case.id) > 1\n"
        "    pitfall_outcome.check()\n"
    )
    document = project.results("test_own.py", "--pitfalls-limit=4", "--reruns=2", "--junitxml=j.xml", *workers)
    project.last.assert_outcomes(passed=3, failed=1)
    project.last.stdout.fnmatch_lines(["*1 failed, 3 passed, 3 rerun*"])
    outcomes = {case["id"]: case["outcome"] for case in document["cases"]}
    assert outcomes.pop(losing) == "failed"
    assert list(outcomes.values()) == ["passed"] * 3
    assert len(document["run"]["editors"]) == 1  # the description came with the attempt that does not count
    assert sum(len(call["ids"]) for call in project.calls("run")) == 4  # an attempt computes nothing again
    for test in ET.parse(project.path / "j.xml").iter("testcase"):
        names = [each.get("name") for each in test.iter("property")]
        assert len(names) == len(set(names))
