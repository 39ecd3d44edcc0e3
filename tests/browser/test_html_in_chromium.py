"""The HTML report in a real browser: fast, searchable, sortable, by keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_samples import HOSTILE, KINDS, sample_results
from property_samples import property_results

from pytest_editpitfalls.reports.html import write_html
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.records import FactRecord, ProbeRecord
from pytest_editpitfalls.results.rerun_record import RerunRecord

BIG = 2500
"""Cases per suite: 12,500 in all, the size of the published benchmark."""

Browser = Any
CHOOSE = """((name, value) => {
    const select = document.querySelector(`[name=${name}]`);
    select.value = value;
    select.dispatchEvent(new Event('input', {bubbles: true}));
    return document.getElementById('count').textContent;
})(...arguments)"""
FOCUS = """(e => e === document.body ? '' : e.closest('section')?.id || e.className || 'nav')(
    document.activeElement)"""
UNNAMED = """[...document.querySelectorAll('button, input, select, [tabindex="0"]')].filter(e =>
    !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))
    .map(e => e.outerHTML)"""
TIED_ALONE = """[...document.querySelectorAll('.probabilities tbody tr')]
    .find(row => row.querySelector('th code').textContent === 'tied').cells[4].querySelector('.p').textContent"""
COLOURS = """[...document.querySelectorAll(`h1, h2, .sub, .legend, td, th, a, .badge, .muted, .mark, .better, .worse,
    .warning, .pub, button:not(:disabled)`)].map(e => {
    let on = e;
    while (on && getComputedStyle(on).backgroundColor === 'rgba(0, 0, 0, 0)') on = on.parentElement;
    return [getComputedStyle(e).color, getComputedStyle(on || document.body).backgroundColor, e.className || e.tagName];
})"""
ROWS = "[...document.querySelectorAll('#table tbody tr:not(.empty)')]"


@pytest.fixture(scope="session")
def big_results() -> RunResults:
    return sample_results(BIG)


@pytest.fixture(scope="session")
def big_page(big_results: RunResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "big.html"
    write_html(path, big_results)
    return path


@pytest.fixture(scope="session")
def small_results() -> RunResults:
    results = sample_results(12, ("rome", "lora"), ("gpt2-xl",))
    for case in results.cases:
        for fact in case.facts.values():
            fact.relation, fact.label = case.rule.split("-")[0], f"label of {case.rule.split('-')[0]}"
    results.run.reruns = [
        RerunRecord(
            suite=suite,
            editor=editor,
            model="gpt2-xl",
            selects=[f"pitfalls/{suite}.py::test_{suite}[{editor}-gpt2-xl-{{id}}]"],
            options=[f"--editor={editor}", "--pitfalls-suite=it's  mine.json"],
        )
        for suite in KINDS
        for editor in ("rome", "lora")
    ]
    return results


@pytest.fixture(scope="session")
def small_page(small_results: RunResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "small.html"
    other = sample_results(12, ("rome",), ("gpt2-xl",), seed=3)
    write_html(path, small_results, others=[other], other_labels=["main"])
    return path


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResults]:
    results = sample_results(len(HOSTILE), ("rome", "<b>mine</b>"), hostile=True, suites=("reverse", "easy"))
    for case, label in zip(results.cases, HOSTILE, strict=False):
        case.notes, case.reason = [label], label
    path = tmp_path_factory.mktemp("pages") / "hostile.html"
    write_html(path, results, title="hostile labels")
    return path, results


def test_it_opens_in_two_seconds_with_a_table(browser: Browser, big_page: Path) -> None:
    took = []
    for _ in range(3):  # the best of three: the machine may be busy with other tests
        browser.open(big_page)
        took.append(browser.js("performance.timing.loadEventEnd - performance.timing.navigationStart"))
        assert browser.js(f"{ROWS}.length") == 100
        assert browser.js("document.getElementById('count').textContent") == "12,500 cases"
    print("load, ms:", took)
    assert min(took) < 2000
    assert browser.console() == []


def test_nothing_is_asked_for_but_the_page(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    browser.js(f"{ROWS}[0].querySelector('a').click()")
    assert browser.js("document.getElementById('story').open")
    assert {url.partition("#")[0] for url in browser.requests()} == {small_page.as_uri()}
    assert browser.console() == []


def test_the_policy_forbids_network_and_other_scripts(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    browser.driver.set_script_timeout(5)
    refused = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('data:text/plain,x').then(() => done('loaded'), () => done('refused'))"
    )
    assert refused == "refused"
    browser.driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s);"
        "const i = document.createElement('div'); document.body.append(i);"
        "i.innerHTML = '<img src=x onerror=\"window.owned=2\">'"
    )
    assert browser.js("window.owned") is None


def test_search_finds_in_edits_and_ids_and_is_fast(browser: Browser, big_page: Path, big_results: RunResults) -> None:
    browser.open(big_page)
    search = """(() => { const f = document.querySelector('[name=search]'); f.value = arguments[0];
        const start = performance.now(); f.dispatchEvent(new Event('input', {bubbles: true}));
        return [performance.now() - start, document.getElementById('count').textContent]; })()"""
    words = "harbour kyoto 7"
    expected = 0
    for case in big_results.cases:
        facts = [fact.sentence for fact in case.facts.values()]
        text = "\n".join([case.id, case.subject, case.rule, *case.edits, *facts, *case.notes]).lower()
        expected += all(word in text for word in words.split())
    assert 0 < expected < 12_500
    first, shown = browser.js(search, words)
    again, _ = browser.js(search, "paris")
    assert shown == f"{expected:,} of 12,500 cases"
    print("search, ms:", first, again)
    assert first < 1500  # makes what is searched
    assert again < 500
    _, none = browser.js(search, "no case has this")
    assert none == "0 of 12,500 cases"
    assert browser.js(f"{ROWS}.length") == 0


def test_sorting_by_a_metric_is_right_and_fast(browser: Browser, big_page: Path, big_results: RunResults) -> None:
    browser.open(big_page)
    sort = """(() => { const start = performance.now();
        document.querySelector('[data-column="metric distortion"]').click();
        const ids = [...document.querySelectorAll('#table tbody tr a')].map(a => a.textContent);
        return [performance.now() - start, ids]; })()"""
    known = [c.metrics["distortion"] for c in big_results.cases if c.metrics.get("distortion") is not None]
    took, first = browser.js(sort)
    print("sort, ms:", took)
    assert took < 800
    by_id = {
        (c.suite, c.id): c.metrics["distortion"] for c in big_results.cases if c.metrics.get("distortion") is not None
    }
    suites = browser.js(f"{ROWS}.map(r => r.cells[2].textContent)")
    shown = [by_id[suite, case_id] for suite, case_id in zip(suites, first, strict=True)]
    assert shown == pytest.approx(sorted(known, reverse=True)[:100], rel=1e-3)
    assert (
        browser.js("document.querySelector('[data-column=\"metric distortion\"]').parentElement.ariaSort")
        == "descending"
    )
    browser.js(sort)  # the other way round: what is unknown stays last
    assert (
        browser.js("document.querySelector('[data-column=\"metric distortion\"]').parentElement.ariaSort")
        == "ascending"
    )
    value = browser.js(f"{ROWS}[0].querySelector('[data-title=D]').textContent")
    assert float(value.replace("−", "-")) == pytest.approx(min(known), rel=1e-2)


def test_filters_and_pages(browser: Browser, big_page: Path, big_results: RunResults) -> None:
    browser.open(big_page)
    hard = [case for case in big_results.cases if case.suite == "hard"]
    assert browser.js(CHOOSE, "suite", "hard") == "2,500 of 12,500 cases"
    assert browser.js("document.querySelector('[data-column=\"metric cs_exp\"]')") is None  # no such metric there
    failed = sum(case.outcome == "failed" for case in hard)
    assert browser.js(CHOOSE, "outcome", "failed") == f"{failed:,} of 12,500 cases"
    assert browser.js("document.getElementById('previous-page').disabled")
    browser.js("document.getElementById('next-page').click()")
    assert browser.js("document.getElementById('page').textContent").startswith("page 2 of")
    browser.driver.find_element("css selector", "button[type=reset]").click()
    wait(lambda: browser.js("document.getElementById('count').textContent") == "12,500 cases")


def test_what_failed_comes_first_and_rows_say_what_they_are_about(
    browser: Browser, small_page: Path, small_results: RunResults
) -> None:
    browser.open(small_page)
    outcomes = browser.js(f"{ROWS}.map(row => row.querySelector('.outcome').textContent)")
    failing = [name in ("failed", "xfailed", "error") for name in outcomes]
    assert failing == sorted(failing, reverse=True)
    assert any(failing)
    first = browser.js(f"{ROWS}[0].querySelector('.about').textContent")
    name = browser.js(f"{ROWS}[0].querySelector('a').textContent")
    told = {
        " ".join(case.edits[0].partition(": ")[2].split(" ... ")).replace("->", "→")
        for case in small_results.cases
        if case.id == name
    }
    assert any(first.startswith(text) for text in told), (first, told)
    browser.js(CHOOSE, "sort", "order of the run")
    assert browser.js(f"{ROWS}.map(row => Number(row.dataset.place))")[:5] == [0, 1, 2, 3, 4]


def test_a_view_is_shared_by_its_address(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    browser.open(small_page)
    browser.js(CHOOSE, "suite", "easy")
    browser.js(CHOOSE, "outcome", "passed")
    browser.js(CHOOSE, "sort", "metric es")
    address = browser.js("location.hash")
    assert address == "#suite=easy&outcome=passed&sort=metric+es&up=1"
    count = browser.js("document.getElementById('count').textContent")
    wanted = sum(case.suite == "easy" and case.outcome == "passed" for case in small_results.cases)
    assert count.startswith(f"{wanted} of ")
    browser.open(small_page, address)
    assert browser.js("document.getElementById('count').textContent") == count
    assert browser.js("document.querySelector('[aria-sort]').textContent").startswith("ES")
    browser.js(f"{ROWS}[0].querySelector('a').click()")
    browser.js("document.getElementById('story-close').click()")
    assert browser.js("location.hash") == address  # the story gives the view back
    browser.open(small_page, "#suite=nosuch&search=%25")  # of another run: what it does not have is left out
    assert browser.js("document.querySelector('[name=suite]').value") == ""
    assert "clear a filter" in browser.js("document.querySelector('#table tbody').textContent")


HEADS = "[...document.querySelectorAll('#table thead button')].map(b => b.dataset.column)"


def test_columns_are_chosen_by_keyboard_and_kept_in_the_address(browser: Browser, small_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(small_page, "#suite=reverse")
    usual = browser.js(HEADS)
    assert "metric cm" in usual
    assert "metric cs_gain" not in usual
    browser.js("document.querySelector('#columns summary').focus()")
    browser.press(Keys.ENTER)
    browser.js("document.querySelector('#columns [value=\"metric cs_gain\"]').focus()")
    browser.press(Keys.SPACE)
    assert browser.js("document.activeElement.value") == "metric cs_gain"  # the focus stays
    assert set(browser.js(HEADS)) == {*usual, "metric cs_gain"}
    browser.js("document.querySelector('#columns [value=outcome]').click()")
    shown = browser.js(HEADS)
    assert "outcome" not in shown
    browser.js("document.querySelector('[data-column=\"metric cs_gain\"]').click()")
    address = browser.js("location.hash")
    assert address.startswith("#suite=reverse&sort=metric+cs_gain&up=1&columns=suite,editor,rule,missed,es,ps,")
    browser.open(small_page, address)
    assert browser.js(HEADS) == shown
    browser.js("[...document.querySelectorAll('#columns button')].find(b => b.textContent === 'as usual').click()")
    assert browser.js(HEADS) == usual
    assert browser.js("location.hash") == "#suite=reverse&sort=metric+cs_gain&up=1"  # the order stays
    browser.open(small_page, "#columns=es,nosuch", width=390, height=780)
    assert browser.js(HEADS) == ["id", "metric es"]
    browser.js("document.querySelector('#columns').open = true")
    assert browser.js("document.documentElement.scrollWidth") == 390
    assert browser.js(f"[...{ROWS}[0].cells].map(cell => cell.dataset.title || '')") == ["", "ES"]
    browser.open(small_page, "#columns=none")
    assert browser.js(HEADS) == ["id"]
    assert browser.console() == []


@pytest.mark.parametrize("clipboard", ["refuses", "is absent", "works"])
def test_the_command_that_reruns_a_case_is_copied(
    browser: Browser, small_page: Path, small_results: RunResults, clipboard: str
) -> None:
    from selenium.webdriver.common.keys import Keys

    case = small_results.cases[3]
    browser.open(small_page, f"#case={case.suite}/{case.editor}/{case.model}/{case.id}")
    theirs = {
        "refuses": "{writeText: () => Promise.reject(new Error('no'))}",
        "is absent": "undefined",
        "works": "navigator.clipboard",
    }[clipboard]
    browser.driver.execute_script(f"Object.defineProperty(navigator, 'clipboard', {{value: {theirs}}})")
    button = browser.driver.find_element("css selector", "#story .command button")
    button.click()
    wait(lambda: button.text == "copied")
    browser.js("document.getElementById('story-close').click()")
    field = browser.driver.find_element("css selector", "[name=search]")
    field.send_keys(Keys.CONTROL, "v")
    words = shlex.split(field.get_attribute("value"))
    assert words == [
        "pytest",
        f"pitfalls/{case.suite}.py::test_{case.suite}[rome-gpt2-xl-{case.id}]",
        "--editor=rome",
        "--pitfalls-suite=it's  mine.json",
    ]
    assert browser.console() == []


def test_a_result_without_commands_says_so(browser: Browser, hostile: tuple[Path, RunResults]) -> None:
    path, results = hostile
    results.run.reruns = []
    browser.open(path)
    browser.js(f"{ROWS}[0].querySelector('a').click()")
    wait(lambda: browser.js("document.getElementById('story').open"))
    assert "does not hold the command" in browser.js("document.getElementById('story-body').innerText")


def test_numbers_are_rounded_as_on_the_terminal(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    case = next(each for each in small_results.cases if each.suite == "composite")
    browser.open(small_page, f"#case={case.suite}/{case.editor}/{case.model}/{case.id}")
    rows = browser.js(
        "[...document.querySelectorAll('#story .metrics tr')].map(r => [r.title, r.cells[1].textContent])"
    )
    assert [text.replace("−", "-") for _, text in rows] == [
        "–" if value is None else f"{value:.3g}" for value in case.metrics.values()
    ]


def test_rules_stand_in_words(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    rule = next(each.rule for each in small_results.cases if each.suite == "easy")
    browser.open(small_page, f"#rule={rule}")
    words = browser.js(f"[...new Set({ROWS}.map(row => row.querySelector('.text[title]').textContent))]")
    assert words == [f"label of {rule}"]
    assert browser.js("document.querySelector('[name=rule]').selectedOptions[0].text") == f"label of {rule}"
    assert browser.js(f"{ROWS}.length") == sum(each.rule == rule for each in small_results.cases)


def test_a_cell_of_the_overview_leads_to_its_cases(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    browser.js("document.querySelector('.matrix tbody td a').click()")
    chosen = browser.js("['suite', 'editor'].map(name => document.querySelector(`[name=${name}]`).value)")
    assert chosen == ["reverse", "rome"]
    assert browser.js("document.getElementById('count').textContent").startswith("12 of 120 cases")
    browser.js("window.scrollTo(0, 0)")
    browser.js("document.querySelector('.matrix tbody td a').click()")  # the address stays as it is
    wait(lambda: browser.js("window.scrollY") > 100)
    browser.driver.back()
    wait(lambda: browser.js("document.getElementById('count').textContent").startswith("120 cases"))
    browser.open(small_page, "#sort=nosuch")
    assert browser.js("location.hash") == ""


def test_slash_goes_to_the_search(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    browser.js("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
    assert browser.js("document.activeElement.name") == "search"


def test_filters_for_rule_held_and_length(browser: Browser, tmp_path: Path) -> None:
    results = sample_results(12, ("rome",), ("gpt2-xl",), suites=("reverse",))
    for place, case in enumerate(results.cases):
        case.held = (True, False, None)[place % 3]
        case.unequal_tokens = ["old"] if place < 5 else []
    results.run.exit_status = 1
    write_html(tmp_path / "page.html", results)
    browser.open(tmp_path / "page.html")
    assert browser.js("document.querySelector('h1 .badge').textContent") == "FAILED"
    for name, value, count in (
        ("held", "no", 4),
        ("held", "not asked", 4),
        ("tokens", "unequal", 5),
        ("tokens", "equal", 7),
    ):
        assert browser.js(CHOOSE, name, value).startswith(f"{count} of 12 cases"), (name, value)
        browser.js(CHOOSE, name, "")
    rule = results.cases[0].rule
    same = sum(case.rule == rule for case in results.cases)
    assert browser.js(CHOOSE, "rule", rule).startswith(f"{same} of 12 cases" if same < 12 else "12 cases")


def test_the_head_of_the_table_stays_in_sight(browser: Browser, big_page: Path) -> None:
    browser.open(big_page)
    top = """(() => { const box = document.querySelector('#cases .scroll'); box.scrollTop = 500;
        const [head, its] = [document.querySelector('#table thead th'), box].map(e => e.getBoundingClientRect().top);
        return head - its; })()"""
    assert abs(browser.js(top)) < 3


def test_changed_since_another_run(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    before = {case.key: case.outcome for case in sample_results(12, ("rome",), ("gpt2-xl",), seed=3).cases}
    worse = [case.id for case in small_results.cases if before.get(case.key) == "passed" and case.outcome == "failed"]
    assert worse
    browser.open(small_page)
    browser.js(CHOOSE, "changed", "got worse/0")
    assert browser.js(f"{ROWS}.map(r => r.querySelector('a').textContent)") == worse


def test_a_story_by_keyboard(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(small_page, "#cases")
    browser.js(CHOOSE, "sort", "order of the run")
    browser.js("document.querySelector('#table tbody a').focus()")
    browser.press(Keys.TAB)
    second = small_results.cases[1]
    assert browser.js("document.activeElement.textContent") == second.id
    browser.press(Keys.ENTER)
    wait(lambda: browser.js("document.getElementById('story').open"))
    assert browser.js("document.getElementById('story-title').textContent") == f"{second.id} {second.outcome}"
    assert browser.js("document.getElementById('story').contains(document.activeElement)")
    browser.press(Keys.ARROW_RIGHT)
    third = small_results.cases[2]
    wait(lambda: browser.js("document.getElementById('story-title').textContent").startswith(third.id))
    assert browser.js("location.hash") == f"#case=reverse/rome/gpt2-xl/{third.id}"
    browser.press(Keys.ESCAPE)
    wait(lambda: not browser.js("document.getElementById('story').open"))
    assert browser.js("document.activeElement.textContent") == third.id  # the focus goes on where one has read
    assert browser.js("location.hash") == "#sort=order+of+the+run"
    assert browser.console() == []


def test_a_story_may_be_opened_at_once_after_another(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    browser.js(f"{ROWS}[0].querySelector('a').click()")
    wait(lambda: browser.js("document.getElementById('story').open"))
    browser.js(f"(document.getElementById('story-close').click(), {ROWS}[1].querySelector('a').click())")
    wanted = browser.js(f"{ROWS}[1].querySelector('a').textContent")
    wait(lambda: browser.js("document.getElementById('story-title').textContent").startswith(wanted))
    assert browser.js("document.getElementById('story').open")
    assert wanted in browser.js("decodeURIComponent(location.hash)")


def test_the_whole_page_can_be_walked_through_by_tab(browser: Browser, small_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(small_page)
    browser.js("document.body.focus()")
    seen = []
    for _ in range(400):
        browser.press(Keys.TAB)
        here = browser.js(FOCUS)
        if here == "" or (seen and seen[-1] != here and here == seen[0]):
            break
        if not seen or seen[-1] != here:
            seen.append(here)
    assert seen[0] == "skip"
    assert [part for part in seen if part in ("gates", "figures", "runs", "cases", "facts")] == [
        "gates", "figures", "runs", "cases", "facts",
    ]  # fmt: skip
    assert browser.js(UNNAMED) == []


def test_a_story_tells_the_case(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    case = next(c for c in small_results.cases if c.suite == "composite" and c.outcome == "failed")
    browser.open(small_page, f"#case=composite/{case.editor}/{case.model}/{case.id}")
    text = browser.js("document.getElementById('story-body').innerText")
    for threshold in case.thresholds:
        assert threshold.threshold in text
    fallen = [t for t in case.thresholds if t.passed is False]
    assert text.count("missed by") == len(fallen)
    assert case.edits[0].split(": ", 1)[1].split(" ... ")[0] in text
    assert f"pitfalls/composite.py::test_composite[{case.editor}-{case.model}-{case.id}]" in text
    states = browser.js("[...document.querySelectorAll('.probabilities thead th')].map(h => h.textContent)")
    assert states == ["fact", "before p0", "after edit 1 p1", "after both p12", "edit 2 alone p2"]
    tied = next(p for p in case.probes if p.fact == "tied" and p.state == "2")
    cell = browser.js(TIED_ALONE)
    mean = sum(p for p in tied.probabilities if p is not None) / len(tied.probabilities)
    assert float(cell.replace("−", "-")) == pytest.approx(mean, rel=6e-3)
    dots = "[...document.querySelectorAll('.probability .mean')].map(c => parseFloat(c.getAttribute('cx')))"
    logarithmic = browser.js(dots)
    assert all(2 <= place <= 98 for place in logarithmic)
    browser.js("document.querySelector('.chart button').click()")
    assert browser.js(dots) != logarithmic
    assert "linear scale" in browser.js("document.querySelector('.chart .legend').textContent")
    heads = browser.js("[...document.querySelectorAll('.probabilities tbody th')].map(h => h.innerText)")
    for name, head in zip(dict.fromkeys(probe.fact for probe in case.probes), heads, strict=True):
        fact = case.facts[name]
        assert head.split() == f"{fact.sentence} {fact.role} {name}".split()


def test_of_a_hundred_true_objects_those_that_lost_most_come_first(browser: Browser, tmp_path: Path) -> None:
    results = sample_results(1, suites=("easy",))
    (case,) = results.cases
    case.probes = [probe for probe in case.probes if not probe.fact.startswith("other")]
    for place in range(100):
        for state, value in (("0", 0.5), ("12", 0.5 - place / 250)):
            case.probes.append(ProbeRecord(fact=f"other:{place}", state=state, probabilities=[value]))
        case.facts[f"other:{place}"] = FactRecord(object=f"land {place}", prompt="A neighbour is", role="a true object")
    path = tmp_path / "page.html"
    write_html(path, results)
    browser.open(path, f"#case=easy/rome/gpt2-xl/{case.id}")
    heads = "[...document.querySelectorAll('.probabilities tbody th')].map(h => h.innerText.split('\\n')[0])"
    shown = browser.js(heads)
    assert [line for line in shown if "neighbour" in line] == [f"A neighbour is land {n}" for n in range(99, 89, -1)]
    rest = browser.js("document.querySelector('.rest').innerText")
    assert rest == "Those that lost most are shown. and 90 more: show all"
    browser.js("document.querySelector('.more').click()")
    assert len(browser.js(heads)) == 102
    assert browser.js("document.querySelector('.rest')") is None
    assert browser.console() == []


def test_a_case_is_found_by_what_its_facts_say(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    case = next(c for c in small_results.cases if c.suite == "composite" and c.facts)
    words = case.facts["tied"].prompt
    assert not any(words in edit for edit in case.edits)
    browser.open(small_page)
    browser.js(
        "(() => { const f = document.querySelector('[name=search]'); f.value = arguments[0];"
        "f.dispatchEvent(new Event('input', {bubbles: true})); })()",
        words,
    )
    ids = browser.js(f"[...{ROWS}].map(r => r.querySelector('a').textContent)")
    assert case.id in ids
    assert len(ids) < len(small_results.cases)


def test_links_to_cases(browser: Browser, small_page: Path) -> None:
    for bad in ("#case=reverse/rome/gpt2-xl/absent", "#case=%E0%A4%A", "#case=", "#case=a/b"):
        browser.open(small_page, bad)
        assert not browser.js("document.getElementById('story').open")
        assert "not in this run" in browser.js("document.getElementById('count').textContent")
        assert browser.console() == []


def test_hostile_labels_do_nothing(browser: Browser, hostile: tuple[Path, RunResults]) -> None:
    path, results = hostile
    browser.open(path)
    for place in range(len(results.cases)):
        browser.js(f"{ROWS}[{place}].querySelector('a').click()")
        wait(lambda: browser.js("document.getElementById('story').open"))
        body = browser.js("document.getElementById('story-body').innerText")
        assert not set(body) & set("\u202e\u2067\x1b\x07\ud800")
        assert browser.js("document.querySelectorAll('#story img, #story script').length") == 0
        browser.js("document.getElementById('story-close').click()")
        wait(lambda: not browser.js("document.getElementById('story').open"))
    assert browser.driver.title == "hostile labels"
    assert browser.console() == []
    assert {url.partition("#")[0] for url in browser.requests()} == {path.as_uri()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_horizontal_scroll(
    browser: Browser, small_page: Path, hostile: tuple[Path, RunResults], scheme: str
) -> None:
    for page in (small_page, hostile[0]):
        browser.open(page, width=360, height=780, scheme=scheme)
        browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.js("document.documentElement.scrollWidth") == 360
        browser.js(f"{ROWS}[0].querySelector('a').click()")
        wait(lambda: browser.js("document.getElementById('story').open"))
        assert browser.js("document.getElementById('story').getBoundingClientRect().width") <= 360
        assert browser.js("(b => b.scrollWidth <= b.clientWidth)(document.getElementById('story-body'))")


def test_properties_fit_a_phone_and_have_their_place(browser: Browser, tmp_path: Path) -> None:
    write_html(tmp_path / "properties.html", property_results())
    browser.open(tmp_path / "properties.html", width=390, height=780)
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.js("document.documentElement.scrollWidth") == 390
    links = browser.js("[...document.querySelectorAll('nav.sections a')].map(a => a.textContent)")
    assert links == ["Overview", "Properties", "Cases", "Metrics", "Run facts"]  # no figures without a suite
    assert browser.js("document.querySelectorAll('#properties tbody tr').length") == 6
    assert "isolated: FAILED" in browser.js("document.getElementById('properties').innerText")


def test_text_has_contrast_in_light_and_dark(browser: Browser, small_page: Path) -> None:
    """WCAG AA: 4.5 to 1, for the texts and the coloured words on the background that they stand on."""
    grounds = {}
    for scheme in ("light", "dark"):
        browser.open(small_page, scheme=scheme)
        browser.js(f"{ROWS}[0].querySelector('a').click()")
        pairs = browser.js(COLOURS)
        assert len(pairs) > 100
        for text, ground, name in pairs:
            assert contrast(text, ground) >= 4.5, (scheme, name, text, ground)
        grounds[scheme] = luminance(browser.js("getComputedStyle(document.body).backgroundColor"))
    assert grounds["light"] > 0.8
    assert grounds["dark"] < 0.05


def test_print(browser: Browser, small_page: Path, small_results: RunResults) -> None:
    browser.open(small_page)
    page = browser.pdf()
    assert page.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", page))
    assert 3 <= pages <= 40
    case = small_results.cases[0]
    browser.open(small_page, f"#case={case.suite}/{case.editor}/{case.model}/{case.id}")
    story = browser.pdf()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", story)) <= 2  # the open story alone


def wait(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.02)


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour (WCAG 2.2)."""
    channels = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    a, b = sorted((luminance(first), luminance(second)), reverse=True)
    return (a + 0.05) / (b + 0.05)
