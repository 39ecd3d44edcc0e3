"""The commands on stored runs, as a user types them: output, files, exit status, bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from report_samples import HOSTILE, case, results

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.reports.formats import FORMATS, Format
from pytest_editpitfalls.results import RunResults, read_results
from pytest_editpitfalls.results.writer import write_results


class Command:
    """Runs `editpitfalls` in a directory with two runs of 12 cases: a.json and the worse b.json."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        self.first, self.second = self.made(), self.made(better=-0.4)
        write_results(self.first, path / "a.json")
        write_results(self.second, path / "b.json")

    @staticmethod
    def made(better: float = 0.0, editor: str = "rome") -> RunResults:
        """Every case with a digest of its own, the same in both runs."""
        made = results(12, suites=["reverse", "easy"], editors=[editor], better=better)
        for each in made.cases:
            each.digest = f"{each.source_index:016x}"
        return made

    def __call__(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        found = self._capsys.readouterr()
        return int(left.value.code or 0), found.out, found.err


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return Command(tmp_path, capsys)


# -- compare


def test_compare_shows_changes_and_flipped_cases(command: Command) -> None:
    status, out, _ = command("compare", "a.json", "b.json")
    assert status == 1  # it has new failures, and no gate judges them
    assert "this fails the run: reverse (rome on gpt2-xl): " in out
    assert "reverse, rome on gpt2-xl (%)" in out
    worse = [each for each in command.first.cases if each.suite == "reverse" and each.metrics["cs_exp"] == 1.0]
    line = next(line for line in out.splitlines() if line.strip().startswith("CS exp"))
    assert f"{len(worse)} worse, 0 better of 12" in line
    assert f"{-100 * len(worse) / 12:+.1f} [" in line
    assert "Against the baseline a: 24 cases on both sides" in out
    assert "worse now: reverse P" in out
    assert "edit 1: The capital of France is" in out


def test_compare_with_itself_changes_nothing_and_passes_every_gate(command: Command) -> None:
    status, out, _ = command(
        "compare", "a.json", "a.json", "--fail-on", "*.es:0", "--fail-on", "reverse.cs_exp:1pp", "--strict"
    )
    assert status == 0
    assert "0 new failures" in out
    assert "worse of" not in out
    assert "a (2)" in out


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        (["reverse.cs_exp:2pp"], 1),
        (["*.es:99pp"], 0),
        (["*.es:2pp"], 1),  # inconclusive: its new failures count
        (["reverse.es:99pp"], 1),  # nothing judges easy: its new failures count
        (["reverse.cs_exp >= 0.9"], 1),
        (["reverse.cs_exp >= 0", "easy.succ >= 0"], 0),
        # a suite that did not run is never a pass
        (["reverse.cs_exp >= 0", "easy.succ >= 0", "coverage.cs_exp:2pp"], 1),
    ],
)
def test_gates_set_the_exit_status(command: Command, gates: list[str], expected: int) -> None:
    words = [word for gate in gates for word in ("--fail-on", gate)]
    status, out, _ = command("compare", "a.json", "b.json", *words)
    assert status == expected
    assert all(f"gate {gate}" in out for gate in gates)
    status, out, _ = command("compare", "a.json", "b.json", *words, "--json")
    assert status == expected
    found = json.loads(out)
    assert found["passed"] is (expected == 0)
    judged = [*found["runs"][0]["gates"], *found["runs"][0]["relative_gates"]]
    assert list(dict.fromkeys(gate["gate"] for gate in judged)) == gates


def test_inconclusive_fails_only_when_strict(command: Command) -> None:
    run = command.made()
    changed = next(each for each in run.cases if each.metrics.get("cs_exp") == 1.0)
    changed.metrics["cs_exp"] = 0.0
    write_results(run, Path("c.json"))
    status, out, _ = command("compare", "a.json", "c.json", "--fail-on", "reverse.cs_exp:2pp")
    assert (status, "INCONCLUSIVE" in out) == (0, True)  # its outcome is what it was: no new failure
    changed.outcome = "failed"
    write_results(run, Path("d.json"))
    for options, expected in (((), 1), (("--inconclusive=pass",), 0), (("--inconclusive=fail",), 1)):
        status, out, _ = command("compare", "a.json", "d.json", "--fail-on", "reverse.cs_exp:2pp", *options)
        assert (status, "INCONCLUSIVE" in out) == (expected, True)
    status, out, _ = command("compare", "a.json", "c.json", "--fail-on", "reverse.cs_exp:2pp", "--strict")
    assert status == 1


def test_several_runs_stand_side_by_side(command: Command) -> None:
    status, out, _ = command("compare", "a.json", "b.json", "a.json", "--json")
    assert status == 1
    assert [run["passed"] for run in json.loads(out)["runs"]] == [False, True]
    assert [run["name"] for run in json.loads(out)["runs"]] == ["b", "a (2)"]
    _, out, _ = command("compare", "a.json", "b.json", "a.json")
    heading = next(line for line in out.splitlines() if line.strip().startswith("metric"))
    assert heading.split() == [
        "metric",
        "a",
        "b",
        "change",
        "[90",
        "%]",
        "cases",
        "a",
        "(2)",
        "change",
        "[90",
        "%]",
        "cases",
    ]


def test_two_editors_are_compared_with_each_other(command: Command) -> None:
    write_results(command.made(editor="memit"), Path("m.json"))
    status, out, _ = command("compare", "a.json", "m.json", "--fail-on", "reverse.es >= 0")
    assert status == 0
    assert "its editor memit is compared with the editor of a" in out
    assert "24 cases on both sides" in out


def test_a_baseline_by_file_and_by_name(command: Command) -> None:
    Baseline.of(command.first).write(command.path / "pitfalls-baselines" / "main.json")
    by_file = command("compare", "a.json", "b.json")[1]
    status, out, _ = command("compare", "main", "b.json", "--fail-on", "reverse.cs_exp:2pp")
    assert status == 1
    assert out.count(" worse, ") >= by_file.count(" worse, ")
    assert command("compare", "pitfalls-baselines/main.json", "b.json")[0] == 1
    status, out, _ = command("compare", "b.json", "main")  # a baseline as the newer run: metrics without probabilities
    assert status == 0
    assert "fixed" in out


def test_an_incomplete_run_is_never_a_pass(command: Command) -> None:
    part = command.made()
    part.cases = [each for each in part.cases if each.source_index < 6]
    for suite in part.run.suites:
        suite.selected = 6
    write_results(part, Path("part.json"))
    for gate in ("reverse.es >= 0", "reverse.es:0"):
        status, out, _ = command("compare", "a.json", "part.json", "--fail-on", gate)
        assert status == 1
        assert "NOT EVALUATED" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.json",), "Missing argument"),
        (("a.json", "none.json"), "there is no file 'none.json'"),
        (("a.json", "nothing"), "'nothing' is no result file, no baseline's name and no stored run"),
        (("a.json", "foreign.json"), "this is neither a result file nor a baseline"),
        (("a.json", "broken.json"), "not valid JSON"),
        (("a.json", "empty.json"), "not valid JSON"),
        (("a.json", "."), "'.' is no result file"),
        (("a.json", "old.json"), "defined otherwise"),
        (("old.json", "a.json"), "older version"),
        (("a.json", "other.json"), "ask something else"),
        (("a.json", "weights.json"), "other weights"),
        (("a.json", "part.json"), "lacks cases"),
        (("a.json", "b.json", "--fail-on", "reverse.nothing:2pp"), "unknown metric 'nothing'"),
        (("a.json", "b.json", "--fail-on", "nothing.es:2pp"), "unknown suite 'nothing'"),
        (("a.json", "b.json", "--fail-on", "reverse.es:2"), "is no margin"),
        (("a.json", "b.json", "--fail-on", "reverse.es >= nan"), "is no number"),
        (("a.json", "b.json", "--fail-on", "reverse.es"), "is no threshold"),
    ],
)
def test_bad_input_is_one_message(command: Command, words: tuple[str, ...], message: str) -> None:
    Path("foreign.json").write_text('{"a": [1]}')
    Path("broken.json").write_text('{"run": ')
    Path("empty.json").write_text("")
    old, other, weights, part = (command.made() for _ in range(4))
    old.run.metric_definitions = ""
    other.cases[3].digest = "f" * 16
    weights.run.models[0].fingerprint = "0" * 64
    part.cases = part.cases[1:]
    for name, run in (("old", old), ("other", other), ("weights", weights), ("part", part)):
        write_results(run, Path(f"{name}.json"))
    status, out, err = command("compare", *words)
    assert status == 4
    assert message in err
    assert "Traceback" not in out + err


# -- report, plot, table, export


def test_report_on_the_terminal(command: Command) -> None:
    status, out, _ = command("report", "a.json")
    assert status == 0
    assert "Knowledge conflict (%), rome on gpt2-xl" in out
    assert "Knowledge distortion (%), rome on gpt2-xl" in out
    cell = command.first.aggregates[0].metrics["cs_exp"]
    assert cell.value is not None
    assert f"{100 * cell.value:.1f} [" in out
    assert "time 12.5 s" in out


def test_report_in_files(command: Command) -> None:
    status, out, _ = command("report", "a.json", "--html", "a.html", "--markdown", "a.md", "--json", "again.json")
    assert status == 0
    assert out.split() == ["wrote", "again.json", "wrote", "a.html", "wrote", "a.md"]
    assert Path("a.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert Path("a.md").read_text(encoding="utf-8").startswith("❌ **Pitfalls")
    assert read_results(Path("again.json")) == command.first


@pytest.mark.parametrize("report", ["json", "markdown", "html"])
def test_a_report_alone_on_standard_output(command: Command, report: str) -> None:
    status, out, _ = command("report", "a.json", f"--{report}", "-", *(["--html=b.html"] if report == "json" else []))
    assert status == 0
    if report == "json":
        assert RunResults.model_validate_json(out) == command.first
    else:
        assert "wrote" not in out.splitlines()[0] + out.splitlines()[-1]
        command("report", "a.json", f"--{report}", "same")
        assert out == (command.path / "same").read_text("utf-8")
    assert not (command.path / "-").exists()


def test_tables_on_standard_output(command: Command) -> None:
    assert command("table", "a.json", "--latex", "--out=-")[1] == command("table", "a.json", "--latex")[1] != ""


@pytest.mark.skipif(os.name == "nt", reason="links of a POSIX system")
def test_reports_go_through_links(command: Command) -> None:
    for name in ("json", "html", "tex"):
        (command.path / f"link.{name}").symlink_to(f"there.{name}")
    assert command("report", "a.json", "--json=link.json", "--html=link.html")[0] == 0
    assert command("table", "a.json", "--latex", "--out=link.tex")[0] == 0
    for name in ("json", "html", "tex"):
        assert (command.path / f"link.{name}").is_symlink()
        assert (command.path / f"there.{name}").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "a.json", "--json=-", "--html=-"), "--json and --html: both would be written to standard output"),
        (("report", "a.json", "--json=x", "--html=./x"), "both would be written to"),
        (("report", "a.json", "--html=a.json"), "--html: 'a.json' would be written over: it is read (RUN)"),
        (("report", "a.json", "--html=absent/x"), "--html: the directory 'absent' does not exist"),
        (("report", "a.json", "--json=new.json", "--html=b.json/x"), "--html: cannot write 'b.json/x': 'b.json' is a"),
        (("table", "a.json", "--latex", "--out=a.json"), "--out: 'a.json' would be written over: it is read (RUN)"),
        (("table", "a.json", "--latex", "--out=."), "--out: '.' is a directory"),
    ],
)
def test_a_bad_place_is_refused_before_anything_is_written(
    command: Command, words: tuple[str, ...], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in command.path.iterdir()}
    status, out, err = command(*words)
    assert status == 4
    assert out == ""
    assert message in err
    assert {path.name: path.read_bytes() for path in command.path.iterdir()} == before


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_form_of_report_has_an_option_here_and_in_pytest(
    command: Command, form: Format, pytestconfig: pytest.Config
) -> None:
    status, out, _ = command("report", "a.json", f"--{form.name}", "out")
    assert (status, out) == (0, "wrote out\n")
    form.write(command.first, Path("again"), "here")
    assert Path("again").read_bytes() == Path("out").read_bytes() != b""
    with pytest.raises(UsageError, match=r"^here: cannot write"):
        form.write(command.first, Path("no/again"), "here")
    assert pytestconfig.getoption(form.option) is None
    assert form.help[:1].upper() + form.help[1:] in command("report", "--help")[1].replace("\n", " ")


def test_plot_table_and_export(command: Command) -> None:
    pytest.importorskip("matplotlib")
    status, out, _ = command("plot", "a.json", "b.json", "--out", "plots", "--plot", "rules", "--format", "svg")
    assert (status, out) == (0, "wrote plots/rules.svg\n")
    status, out, _ = command("table", "--latex", "a.json")
    assert status == 0
    assert out.count(r"\begin{tabular}") == 2
    assert command("table", "--latex", "a.json", "--out", "t.tex")[1] == "wrote t.tex\n"
    assert Path("t.tex").read_text() == out
    status, out, _ = command("table", "a.json", "b.json")
    assert status == 0
    assert [line for line in out.splitlines() if line in ("a", "b")] == ["a", "b"]
    assert out.count("Knowledge conflict (%)") == 2
    assert "Worst cases" not in out
    assert command("table", "a.json", "--out=t.txt")[:2] == (0, "wrote t.txt\n")
    assert "Knowledge conflict (%)" in Path("t.txt").read_text()
    status, out, _ = command("export", "--released", "rel", "a.json", "--only-suite", "easy")
    assert status == 0
    assert sorted(path.name for path in Path("rel").rglob("*.json")) == ["ROME_easy.json", "easy_model.json"]


def test_hostile_runs_are_shown_inertly(command: Command) -> None:
    run = results(3, suites=["reverse"], editors=[HOSTILE], models=[HOSTILE], hostile=HOSTILE)
    for each in run.cases:
        each.digest = f"{each.source_index:016x}"
    write_results(run, Path("h.json"))
    for words in (("report", "h.json"), ("compare", "h.json", "h.json"), ("noise", "h.json", "h.json")):
        status, out, _ = command(*words)
        assert status == 0
        assert "\x1b" not in out
        assert "\u202e" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "a.json", "--html", "no/dir/a.html"), "does not exist"),
        (("report", "a.json", "--markdown", "."), "--markdown"),
        (("export", "--released", "r", "a.json", "--editor", "memit"), "the run has no 'memit'"),
        (("export", "--released", "a.json", "a.json"), "cannot make"),
        (("plot", "a.json", "--out", "p", "--format", "bmp"), "unknown format"),
        (("noise",), "nothing says what to run or to read"),
        (("noise", "a.json"), "one run alone shows no noise"),
        (("noise", "a.json", "b.json", "--editor=rome"), "are both given"),
        (("noise", "a.json", "b.json", "--limit=3"), "--limit needs --editor"),
        (("noise", "--editor=rome", "--vary=sead=1"), "did you mean 'seed'"),
        (("noise", "--editor=rome", "--vary=seed"), "'seed' is not NAME=VALUE"),
        (("calibrate", "a.json"), "1 run(s) are given"),
        (("calibrate", "--clusters=20"), "needs two runs"),
        (("calibrate", "a.json", "a.json"), "no metric differs"),
        (("calibrate", "gates", "a.json"), "1 run(s) are given"),
        (("calibrate", "intervals", "absent.json"), "there is no file"),
        (("calibrate", "intervals", "--published=absent"), "cannot be read"),
        (("calibrate", "intervals", "--published=."), "no files of the benchmark"),
        (("calibrate", "intervals", "--json", "--markdown"), "are both given"),
        (("calibrate", "intervals", "--out=absent/x"), "does not exist"),
    ],
)
def test_bad_input_of_the_other_commands(command: Command, words: tuple[str, ...], message: str) -> None:
    status, out, err = command(*words)
    assert status == 4
    assert message in err
    assert "Traceback" not in out + err


# -- noise, calibrate


def test_noise_of_runs_that_are_there(command: Command) -> None:
    run = command.made()
    changed = next(each for each in run.cases if each.metrics.get("cs_exp") == 1.0)
    changed.metrics["cs_exp"] = 0.0
    write_results(run, Path("c.json"))
    status, out, _ = command("noise", "a.json", "c.json", "--json")
    assert status == 0
    floors = {(row["suite"], row["metric"]): row for row in json.loads(out)["floors"]}
    found = floors["reverse", "cs_exp"]
    assert (found["changed"], found["margin"]) == (1, "10pp")
    assert found["largest"] == pytest.approx(1 / 12)
    assert found["rounding"] == found["by_source"]["repeat"]  # both runs record the same
    assert found["rounding"]["largest"] == found["largest"]
    assert found["seed"] is None
    assert floors["reverse", "es"]["margin"] == "0"
    status, out, _ = command("noise", "a.json", "c.json")
    assert "reverse.cs_exp:10pp" in out
    assert "1 of 12" in out
    assert "what seeds do is not known" in out


def test_noise_of_one_run_with_several_seeds(command: Command) -> None:
    run = command.made()
    again = [each.model_copy(update={"editor": "rome+seed1", "seed": 1}, deep=True) for each in run.cases]
    for each in run.cases:
        each.editor, each.seed = "rome+seed0", 0
    changed = next(each for each in again if each.metrics.get("cs_exp") == 1.0)
    changed.metrics["cs_exp"] = 0.0
    write_results(run.model_copy(update={"cases": [*run.cases, *again]}), Path("c.json"))
    status, out, _ = command("noise", "c.json", "--json")
    assert status == 0
    found = next(row for row in json.loads(out)["floors"] if (row["suite"], row["metric"]) == ("reverse", "cs_exp"))
    assert (found["editor"], found["runs"], found["rounding"]) == ("rome", 2, None)
    assert found["seed"]["largest"] == pytest.approx(1 / 12)
    status, out, _ = command("noise", "c.json")
    assert "No two runs have one seed: what rounding does is not known" in out


def test_calibrate_on_stored_runs(command: Command) -> None:
    write_results(command.made(better=-0.1), Path("c.json"))
    words = ("calibrate", "a.json", "c.json", "--replications", "20", "--clusters", "12")
    status, out, _ = command(*words, "--json")
    assert status in (0, 1)
    records = json.loads(out)
    assert (status == 0) is all(record["holds"] for record in records)
    assert any("reverse.cs_exp with rome on gpt2-xl" in record["population"] for record in records)
    pytest.importorskip("matplotlib")
    _, out, _ = command(*words, "--plot", "calibration.svg")
    assert Path("calibration.svg").read_text().startswith("<?xml")
    assert out.splitlines()[-1] == f"{sum(record['holds'] for record in records)} of {len(records)} hold"
    assert len(out.splitlines()) == len(records) + 1
    status, out, _ = command("calibrate", "gates", *words[1:], "--json")
    assert json.loads(out) == records


def test_calibrate_intervals_on_a_stored_run(command: Command) -> None:
    words = ("calibrate", "intervals", "a.json", "--replications", "20", "--cases", "4", "--cases", "20")
    status, out, _ = command(*words, "--json", "--out", "figures.jsonl")
    records = json.loads(out)
    assert status == 0
    assert all(record["holds"] for record in records)
    assert any(record["population"].startswith("stored, cs_exp") for record in records)
    assert len(Path("figures.jsonl").read_text().splitlines()) == len(records)
    _, out, _ = command(*words)
    assert out.splitlines()[-1] == f"{len(records)} of {len(records)} cover"
    assert len(out.splitlines()) == len(records) + 1
    _, out, _ = command(*words, "--markdown")
    assert "| values | correlation | n = 4 | n = 20 |" in out


def test_samples_differ_by_editor_only_after_the_edits() -> None:
    """What the tests above rest on: the base model is the same for every editor."""
    first, second = (case("easy", editor, "m", 1, 0, 0.0, "", "") for editor in ("rome", "memit"))
    before = [[probe for probe in each.probes if probe.state == "0"] for each in (first, second)]
    assert before[0] == before[1]
    assert first.probes != second.probes
