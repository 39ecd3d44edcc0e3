"""The summary, the header and the progress line, on wide and narrow terminals and without one."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pyte
import pytest
from plugin_helpers import WITH_EACH_SUITE, case_ids, on_a_terminal

from pytest_editpitfalls.engine.settings import Expected, Progress
from pytest_editpitfalls.escaping import encodable, visible
from pytest_editpitfalls.execution.planning import BatchGroup, PlannedCase
from pytest_editpitfalls.reports import progress
from pytest_editpitfalls.reports.progress import Pace, ProgressLine, TerminalLine, workers_line
from pytest_editpitfalls.reports.view.words import time_line

R3 = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")


def summary(result: pytest.RunResult) -> list[str]:
    """Return the lines of our section."""
    lines = result.outlines
    start = next(place for place, line in enumerate(lines) if " editing pitfalls " in line)
    return lines[start:]


def test_header_and_tables(project):
    cases = case_ids("reverse", 3)
    project.engine(lose=cases[:1], notes=("tiny divisor at edit 1: 2e-9",))
    result = project.run("--pitfalls-suite=default", "--pitfalls-limit=3")
    result.stdout.fnmatch_lines(
        [
            "pitfalls: rome on smollm2-135m, device auto, suites reverse, composite, *, at most 3 cases each",
            "pitfalls: smollm2-135m: takes 0.1 GB",
            "*= editing pitfalls =*",
            "rome on smollm2-135m: 2 of 15 cases miss a threshold (reverse 1, composite 1)",
            "Knowledge conflict (%), rome on smollm2-135m",
            "*suite*n*held*ES*PS*CS exp*CS imp*CM*TFD*Succ*",
            "*reverse*3*3/3*66.7 [[]9.4, 99.2]*100.0 [[]29.2, 100.0]*",
            "*no edit*0.0*0.0*",
            "*lift*+66.7 [[]-54.1, +99.2]*+100.0 [[]-41.5, +100.0]*",
            "Knowledge distortion (%), rome on smollm2-135m",
            "*suite*n*held*ES*PS*Succ*D*IR*FR*",
            "Worst cases, with mean probabilities before -> (after edit 1 ->) after",
            f"  reverse {cases[0]} (rome on smollm2-135m): cs_exp 0 (wanted >= 1)",
            "    edit 1: * ... * -> *",
            "    * is *: 0.3 -> 0.8 -> 0.1 (what edit 1 writes)",
            "note: tiny divisor at edit 1: 15 cases, the first *",
            "time *: *load 0.2 s*edit*",
            "*short test summary*",
        ]
    )
    result.stdout.no_fnmatch_line("*published*")
    assert "\x1b" not in str(result.stdout)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_every_width(project, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    project.engine(lose=case_ids("composite", 3)[:1])
    result = project.run("--pitfalls-suite=default", "--pitfalls-limit=3")
    lines = summary(result)
    assert max(len(line) for line in lines[: lines.index(next(x for x in lines if x.startswith("time")))]) <= width
    text = "\n".join(lines)
    for title in ("CS exp", "TFD", "FR", "66.7", "composite"):
        assert title in text
    assert "…" not in text


def test_where_reports_went_is_said(project):
    options = ("--pitfalls-json=run.json", "--pitfalls-markdown=run.md")
    project.run(*R3, *options).stdout.fnmatch_lines(
        ["pitfalls: json written to run.json", "pitfalls: markdown written to run.md"]
    )
    project.run(*R3, *options, "-q").stdout.no_fnmatch_line("*written to*")


def test_quiet_and_no_summary(project):
    result = project.run("-q", project.whole("reverse", 3), "--pitfalls-gate=reverse.cs_exp >= 0.5")
    result.stdout.fnmatch_lines(
        [
            "reverse rome smollm2-135m: n 3, ES 100.0, PS 100.0, CS exp 100.0 (no edit 0.0), "
            "CS imp 100.0 (no edit 0.0), CM 87.5",
            "gate reverse.cs_exp*passed*",
        ]
    )
    result.stdout.no_fnmatch_line("pitfalls: *")
    result.stdout.no_fnmatch_line("*Knowledge conflict*")
    result = project.run("--no-summary", project.whole("reverse", 3), "--pitfalls-gate=reverse.cm >= 0.9")
    result.stdout.no_fnmatch_line("*Knowledge conflict*")
    result.stdout.fnmatch_lines(["gate reverse.cm >= 0.9*FAILED, cm = 0.875*"])


def test_colour_only_where_pytest_has_it(project, monkeypatch):
    def run(*options: str) -> str:
        return "\n".join(summary(project.run(*R3, *options)))

    assert "\x1b[" in run("--color=yes")
    assert "\x1b[" not in run("--color=no")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run()


def test_labels_are_shown_and_not_obeyed():
    assert visible("a\x1b[31m\n\u202eb[/bold]é 東\t") == "a\\x1b[31m\\n\\u202eb[/bold]é 東\\t"
    assert visible("a\nb", keep_newlines=True) == "a\nb"
    assert encodable("é 東 a", "ascii") == "\\xe9 \\u6771 a"


def test_a_hostile_suite(project):
    """Labels with escapes, markup and brackets reach neither the terminal's ear nor rich's."""
    import json
    import shutil

    from pytest_editpitfalls.shipped import suites_directory

    source = suites_directory()
    for name in WITH_EACH_SUITE:
        shutil.copy(source / name, project.path / name)
    header = (source / "reverse.toml").read_text().replace('"reverse"\n', '"mine"\n', 1)
    (project.path / "mine.toml").write_text(header.replace("reverse.jsonl", "mine.jsonl"))
    row = (source / "reverse.jsonl").read_text().splitlines()[0]
    case = json.loads(row)
    case["edits"][0]["new_object"] = case["edits"][1]["subject"] = "[red]X\u202eY{}[/red]"
    (project.path / "mine.jsonl").write_text(json.dumps(case) + "\n")
    project.engine(lose=[case["id"]])
    result = project.run("--pitfalls-suite=mine.toml")
    result.assert_outcomes(failed=1)
    assert "\u202e" not in str(result.stdout)
    assert str(result.stdout).count("[red]X\\u202eY{}[/red]") > 4
    assert f"pitfalls/mine.py::test_mine[rome-smollm2-135m-{case['id']}]" in str(result.stdout)


def test_a_terminal_without_unicode(project):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "--editor=rome", *R3],
        cwd=project.path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    text = done.stdout.decode("ascii")
    assert done.returncode == 0, text
    assert "| reverse" in text


def on_screens(text: str, columns: int) -> list[list[str]]:
    """What a terminal shows, each time that something was drawn; the last one is the end."""
    screen = pyte.Screen(columns, 200)
    stream = pyte.Stream(screen)
    shown = []
    for part in re.split(r"(?=\x1b\[K)", text):
        stream.feed(part)
        shown.append([line.rstrip() for line in screen.display])
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_line_on_a_terminal(project):
    text = on_a_terminal(project.path, *R3, columns=100)
    assert "\r0/3 cases | batch of 3: edit 0/3" in text
    assert any(re.fullmatch(r"pitfalls/reverse\.py \.{3} +\[100%\]", line) for line in on_screens(text, 100)[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("options", [(), ("-n2",)])
def test_the_line_stands_below_pytests_letters(project, options):
    project.engine(slow=3.0 if options else 0.0)
    text = on_a_terminal(project.path, "--pitfalls-suite=reverse", "--pitfalls-limit=9", *options, columns=80)
    shown = on_screens(text, 80)
    drawn = [(screen, at) for screen in shown for at, line in enumerate(screen) if re.match(r"\d+/9 cases ", line)]
    assert drawn
    if options:
        assert any(screen[at - 1].startswith(".") for screen, at in drawn)
        assert any(re.fullmatch(r"\.{9} +\[100%\]", line) for line in shown[-1])
    else:
        assert any(screen[at - 1].startswith("pitfalls/reverse.py ....") for screen, at in drawn)
        assert any(re.fullmatch(r"pitfalls/reverse\.py \.{9} +\[100%\]", line) for line in shown[-1])
    assert not any(" cases | " in line for line in shown[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [60, 80])
def test_long_lines_stay_whole_as_well(project, columns):
    text = on_a_terminal(project.path, "--pitfalls-suite=reverse", "--pitfalls-limit=5", "-v", columns=columns)
    end = "".join(line.ljust(columns) for line in on_screens(text, columns)[-1])
    assert end.count("] PASSED") == 5


@pytest.mark.parametrize(("written", "drawn"), [(0, True), (79, True), (80, False), (81, True), (160, False)])
def test_a_full_row_is_not_written_over(monkeypatch, written, drawn):
    """Behind its last letter the cursor still stands on it: going to the start of the row would lose the row."""
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    writer = SimpleNamespace(width_of_current_line=written, fullwidth=80, _file=file)
    plugins = {"terminalreporter": SimpleNamespace(_tw=writer, isatty=True)}
    manager = SimpleNamespace(get_plugin=plugins.get)
    TerminalLine(SimpleNamespace(pluginmanager=manager, get_verbosity=lambda: 0)).draw("0/3 cases")
    assert ("0/3 cases" in file.getvalue()) is drawn


BY_BATCHES = ("--pitfalls-suite=reverse", "--pitfalls-limit=3", "--pitfalls-batch-size=1", "--no-summary")
REMARKS = ["pitfalls: tiny divisor", "pitfalls: once more"]


def lines_of_items(result: pytest.RunResult) -> list[str]:
    """Return what stands between the remark on the model and the end, without space at the ends of lines."""
    lines = [line.rstrip() for line in result.outlines]
    start = next(place for place, line in enumerate(lines) if "takes 0.1 GB" in line)
    end = next(place for place, line in enumerate(lines) if re.match("=+ .* in ", line))
    return lines[start + 1 : end]


@pytest.mark.parametrize(
    ("style", "ends"),
    [("progress", ["[ 33%]", "[ 66%]", "[100%]"]), ("count", ["[1/3]", "[2/3]", "[3/3]"]), ("classic", ["", "", ""])],
)
def test_letters_go_on_behind_a_remark(project, monkeypatch, style, ends):
    """Each line of letters begins with the path, once; no letter stands alone, no line is empty but pytest's own."""
    monkeypatch.setenv("COLUMNS", "80")
    project.engine(lose=case_ids("reverse", 3)[2:], remarks=("tiny divisor", "once more"))
    lines = lines_of_items(project.run(*BY_BATCHES, "-o", f"console_output_style={style}"))
    letters = ["pitfalls/reverse.py " + letter for letter in "..F"]
    first, second, third = (
        (text + end.rjust(79 - len(text))).rstrip() for text, end in zip(letters, ends, strict=True)
    )
    assert lines == ["", "pitfalls/reverse.py", *REMARKS, first, *REMARKS, second, *REMARKS, third, ""]


def test_an_item_is_named_again_behind_a_remark(project, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    project.engine(remarks=("tiny divisor", "once more"))
    lines = lines_of_items(project.run(*BY_BATCHES, "-v"))
    items = [f"pitfalls/reverse.py::test_reverse[rome-smollm2-135m-{case}]" for case in case_ids("reverse", 3)]
    wanted = ["", *(line for item in items for line in (item, *REMARKS, f"{item} PASSED")), ""]
    assert [re.sub(" +\\[ *\\d+%]", "", line) for line in lines] == wanted


def test_another_file_begins_behind_a_remark(project, monkeypatch):
    """Behind a remark between two items pytest would go on with an empty line."""
    monkeypatch.setenv("COLUMNS", "80")
    (project.path / "test_own.py").write_text("def test_it():\n    pass\n")
    project.engine("""
import pytest
from pytest_editpitfalls.reports.progress import TerminalLine

def pytest_configure(config):
    global line
    line = TerminalLine(config)

@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid):
    line.announce(f"behind {nodeid.partition(':')[0]}")
""")
    lines = lines_of_items(project.run("test_own.py", project.whole("reverse", 2), "--no-summary"))
    assert [line.partition("  ")[0] for line in lines] == [
        "",
        "test_own.py .",
        "pitfalls: behind test_own.py",
        "pitfalls/reverse.py .",
        "pitfalls: behind pitfalls/reverse.py",
        "pitfalls/reverse.py .",
        "pitfalls: behind pitfalls/reverse.py",
        "",
    ]
    assert lines[5].endswith("[100%]")


AS_FROM_A_WORKER = """
import pytest, types

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_logreport(report):
    report.node = types.SimpleNamespace(gateway=types.SimpleNamespace(id="gw1"))
    return (yield)
"""
MISSED = "cs_exp >= 1: failed, cs_exp = 0, missed by 1"


@pytest.mark.parametrize("from_worker", [False, True])
@pytest.mark.parametrize("width", [80, 160])
def test_verbose_lines_have_the_reason(project, monkeypatch, width, from_worker):
    monkeypatch.setenv("COLUMNS", str(width))
    first, second, third = cases = case_ids("reverse", 3)
    project.engine(AS_FROM_A_WORKER if from_worker else "", lose=[first], errors=[second], skips=[third])
    result = project.run(*R3, "-v", "--tb=no", "-rf")
    lines = [re.sub(r" +\[ *\d+%\]", "", line.rstrip()) for line in result.outlines]
    names = [f"pitfalls/reverse.py::test_reverse[rome-smollm2-135m-{case}]" for case in cases]
    words = ["FAILED", "ERROR", "SKIPPED"]
    reasons = [MISSED, "the solve is singular", "the target has no tokens"]
    wanted = []
    for name, word, reason in zip(names, words, reasons, strict=True):
        line = f"[gw1] {word} {name}" if from_worker else f"{name} {word}"
        if width == 160:
            wanted.append(f"{line} ({reason})")
        else:
            wanted += [line] if word == "SKIPPED" else [line, f"  {reason}"]
    started = {*names, ""} if from_worker else {""}  # pytest tells there what begins
    start = next(place for place, line in enumerate(lines) if line == wanted[0])
    assert [line for line in lines[start : start + 2 * len(wanted)] if line not in started][: len(wanted)] == wanted
    # the short summary is pytest's own
    assert lines.count(f"FAILED {names[0]} - PitfallFailed: {MISSED}") == (width == 160)


def test_without_v_no_reason_stands_among_the_letters(project):
    project.engine(lose=case_ids("reverse", 3)[:1])
    project.run(*R3, "--tb=no", "--no-summary").stdout.no_fnmatch_line("*missed by*")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("options", [(), ("-v",)])
def test_a_remark_takes_the_place_of_a_heading_on_a_terminal(project, options):
    project.engine(remarks=("tiny divisor",))
    text = on_a_terminal(project.path, *BY_BATCHES, *options, columns=60)
    end = on_screens(text, 60)[-1]
    assert end.count("pitfalls: tiny divisor") == 3
    shown = "".join(line.ljust(60) for line in end)
    assert shown.count("pitfalls/reverse.py") == 3
    assert shown.count("PASSED" if options else "reverse.py . ") == 3


def test_workers_letters_go_on_behind_a_remark(project, monkeypatch):
    """In pytest-xdist's controller pytest shows letters alone, of whatever file."""
    monkeypatch.setenv("COLUMNS", "80")
    project.engine(
        "def pytest_sessionstart(session):\n"
        "    session.config.pluginmanager.get_plugin('terminalreporter').showfspath = False\n",
        remarks=("tiny divisor", "once more"),
    )
    lines = lines_of_items(project.run(*BY_BATCHES))
    ends = [f".{end.rjust(78)}" for end in ("[ 33%]", "[ 66%]", "[100%]")]
    assert lines == [*REMARKS, ends[0], *REMARKS, ends[1], *REMARKS, ends[2]]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_that_moves_no_cursor_gets_no_line(project, monkeypatch):
    monkeypatch.setenv("CI", "")
    monkeypatch.setenv("BUILD_NUMBER", "")
    assert "batch of" not in on_a_terminal(project.path, *R3, columns=80, term="dumb")


def test_a_ci_log_gets_a_line_every_half_minute(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(progress, "CI_INTERVAL", 0.0)
    project.run(*R3).stdout.fnmatch_lines(["pitfalls: 0/3 cases | batch of 3: *"])
    monkeypatch.delenv("CI")
    project.run(*R3).stdout.no_fnmatch_line("*batch of*")


def test_no_progress_line_without_a_terminal(project, monkeypatch):
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    project.run(*R3).stdout.no_fnmatch_line("*batch of*")


def test_the_line_tells_rate_and_time_left(pytestconfig):
    line = ProgressLine(pytestconfig)
    batch = tuple(PlannedCase(BatchGroup("reverse", "rome", "m"), index) for index in range(4))
    line._ran, line._spent = 8, 16.0
    line.start(batch, 8, 40)
    assert line.line(Progress("edit", 3, 20), 4.0) == ("8/40 cases | batch of 4: edit 3/20 | 0.50 cases/s, 1:00 left")


def first_batch(config: pytest.Config, expected: Expected | None = None) -> ProgressLine:
    line = ProgressLine(config)
    batch = tuple(PlannedCase(BatchGroup("reverse", "rome", "m"), index) for index in range(4))
    line.start(batch, 0, 40, expected)
    return line


def test_in_the_first_batch_the_time_left_is_that_of_edits(pytestconfig):
    """What scoring takes is not known yet: with it the time would rise when the batch has ended."""
    line = first_batch(pytestconfig)
    assert line.line(None, 0.0) == "0/40 cases | batch of 4"
    assert line.line(Progress("second moment", 1, 2), 5.0) == "0/40 cases | batch of 4: second moment 1/2"
    line._begin("edit", 6.0)
    assert line.line(Progress("edit", 0, 20), 6.0) == "0/40 cases | batch of 4: edit 0/20"
    assert line.line(Progress("edit", 10, 20), 10.0) == "0/40 cases | batch of 4: edit 10/20 | edits: 1:16 left"
    line._begin("score", 15.0)
    assert line.line(Progress("score", 0, 4), 15.0) == "0/40 cases | batch of 4: score 0/4"


def test_earlier_runs_tell_the_time_left_before_the_first_step(pytestconfig):
    line = first_batch(pytestconfig, Expected(40, seconds=80.0, batch=8.0, edits=0.75))
    assert line.line(None, 0.0) == "0/40 cases | batch of 4 | 1:20 left, by earlier runs"
    assert line.line(Progress("second moment", 1, 2), 5.0).endswith(": second moment 1/2 | 1:20 left, by earlier runs")
    line._begin("edit", 5.0)
    assert line.line(Progress("edit", 5, 20), 6.5).endswith(" | 1:18 left, by earlier runs")  # as fast as then
    assert line.line(Progress("edit", 10, 20), 9.0).endswith(" | 1:18 left, by earlier runs")  # slower: it stands still
    line._begin("score", 11.0)
    assert line.line(Progress("score", 0, 4), 11.0).endswith(" | 1:14 left, by earlier runs")
    assert line.line(Progress("score", 0, 4), 13.0).endswith(" | 1:12 left, by earlier runs")
    line.stop()
    line._spent = 14.0
    line.reached(4)
    assert line.line(Progress("edit", 0, 20), 0.0).endswith(" | 0.29 cases/s, 2:06 left")  # far slower than then


def test_workers_tell_the_time_left_before_the_first_step():
    states = {
        "gw0": {"stage": "edit", "done": 0, "total": 20, "cases": 4, "expected": 2.0},
        "gw1": {"stage": "loading m", "done": 0, "total": 0, "cases": 0, "expected": None},
    }
    pace = Pace()
    assert workers_line(states, 0, 40, 0.0, pace, 0) == (
        "0/40 cases | gw0: edit 0/20 of 4 | gw1: loading m | 0:40 left, by earlier runs"
    )
    assert workers_line(states, 8, 40, 5.0, pace, 0).endswith(" | 0:27 left, by earlier runs")  # 8 from the store
    assert workers_line(states, 12, 40, 10.0, pace, 4).endswith(" | 0.40 cases/s, 1:10 left")


def test_a_run_after_another_has_a_time_left_at_once(project):
    """The store knows what a case took; nobody's clock is read: the fake engine says 0.01 s, told as 100 s here."""
    slow = "\nimport dataclasses\nfrom pytest_editpitfalls.store import earlier\nmean = earlier._mean\n" + (
        "earlier._mean = lambda found: dataclasses.replace(mean(found), whole=100.0, edits=80.0)\n"
    )
    project.engine(slow)
    assert "by earlier runs" not in on_a_terminal(project.path, *R3, columns=100)
    again = on_a_terminal(project.path, "--pitfalls-suite=reverse", "--pitfalls-limit=9", columns=100)
    # Six are left, or seven: a stored case behind the first batch is looked up later.
    first = re.search(r"\r(\d/9 cases \| batch of \d.*? \|.*?)\x1b", again)
    assert first is not None
    assert re.fullmatch(r"[23]/9 cases \| batch of \d \| 1[01]:[04]0 left, by earlier runs", first[1])


def test_the_time_left_rises_only_where_it_was_far_off():
    pace = Pace()
    said = [pace.in_words(ran, spent, left) for ran, spent, left in [(4, 4, 60), (8, 10, 56), (60, 60, 4)]]
    assert said == [" | 1.00 cases/s, 1:00 left", " | 0.80 cases/s, 1:00 left", " | 1.00 cases/s, 0:04 left"]
    assert pace.in_words(60, 240, 40) == " | 0.25 cases/s, 2:40 left"  # far slower than thought: no more pretence
    assert pace.in_words(80, 320, 20, 80.0) == " | 0.25 cases/s"  # should have ended: nobody knows
    assert pace.in_words(80, 330, 20) == " | 0.24 cases/s, 1:22 left"


def test_where_the_time_went():
    assert (
        time_line({"edit": 2.0, "load": 1.0}, 5.0, summed=False)
        == "5.0 s: edit 2.0 s, load 1.0 s, pytest and the rest 2.0 s"
    )
    assert time_line({"edit": 8.0}, 5.0, summed=True) == "5.0 s: edit 8.0 s (stages summed over workers)"
