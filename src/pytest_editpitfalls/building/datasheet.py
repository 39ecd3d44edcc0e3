"""The datasheet of a build: what was asked, what was held, what was refused, and where the facts come from."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_editpitfalls.knowledge import Knowledge, KnownFact

from .selection import BuiltSuite, GroupCount
from .settings import BuildSettings
from .wordings import Wordings


def datasheet(
    suites: Sequence[BuiltSuite],
    knowledge: Knowledge,
    wordings: Wordings,
    settings: BuildSettings,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the datasheet as plain JSON types.

    Args:
        run: what else is known of the run: model, fingerprint, seconds, memory, files.
    """
    used = [fact for suite in suites for case in suite.cases for fact in case.candidate.asked]
    return {
        "run": dict(run),
        "settings": {
            "seed": settings.seed,
            "cases": settings.cases,
            "held": {
                "scores": list(settings.scores),
                "paraphrases": settings.paraphrases,
                "rivals": "all objects of the relation that are not true for the subject",
            },
            "per_fact": settings.per_fact,
            "per_subject": settings.per_subject,
            "per_object": settings.at_most(settings.per_object),
            "per_target": settings.at_most(settings.per_target),
            "per_rule": settings.at_most(settings.per_group),
            "token_difference": settings.token_difference,
            "depth": round(settings.depth, 4),
        },
        "facts": {
            "read": len(knowledge),
            "relations": len({fact.relation for fact in knowledge}),
            "left_out": dict(knowledge.report.left_out.most_common()),
            "in_cases": len({(fact.relation, fact.subject, fact.object) for fact in used}),
            "sources": _sources(used),
        },
        "suites": {suite.plan.name: _suite(suite, wordings) for suite in suites},
    }


def _sources(used: Iterable[KnownFact]) -> list[dict[str, Any]]:
    counts = Counter((fact.source or "not said", fact.license or "not said") for fact in used)
    return [{"source": source, "license": license, "facts": count} for (source, license), count in counts.most_common()]


def _suite(suite: BuiltSuite, wordings: Wordings) -> dict[str, Any]:
    facts = [fact for case in suite.cases for fact in case.candidate.asked]
    subjects = Counter(case.candidate.edited.subject for case in suite.cases)
    shares = [answer.share for case in suite.cases for answer in case.answers.values() if answer.share is not None]
    rivals = [len(wordings.objects(fact.relation)) - len(wordings.true_labels(fact)) for fact in facts]
    prompts = [prompt for fact in facts for prompt in wordings.prompts(fact)]
    refused: Counter[str] = Counter()
    for count in suite.counts:
        refused.update(count.refused)
    candidates = sum(count.candidates for count in suite.counts)
    leaking = sum(number for reason, number in refused.items() if "gives an object away" in reason)
    return {
        "kind": suite.plan.kind,
        "cases": len(suite.cases),
        "strict": sum(case.candidate.group.strength == "strict" for case in suite.cases),
        "default": sum(case.candidate.group.strength == "default" for case in suite.cases),
        "relations": len({case.candidate.group.relation for case in suite.cases}),
        "rules": len({case.candidate.group.name for case in suite.cases}),
        "subjects": len(subjects),
        "most_cases_of_a_subject": max(subjects.values(), default=0),
        "rivals": _spread(rivals),
        "paraphrases_won": round(statistics.fmean(shares), 4) if shares else None,
        "prompts": {"rendered": len(prompts), "distinct": len(set(prompts))},
        "candidates": candidates,
        "leaking": leaking,
        "leak_rate": round(leaking / candidates, 4) if candidates else None,
        "refused": dict(refused.most_common()),
        "groups": [_group(count) for count in suite.counts],
        "gaps": [
            {
                "relation": gap.relation,
                "cases": gap.cases,
                "closeness": round(gap.closeness, 4),
                "closeness_of_all": round(gap.closeness_of_all, 4),
                "trigrams": round(gap.trigrams, 4),
                "trigrams_of_all": round(gap.trigrams_of_all, 4),
            }
            for gap in suite.gaps
        ],
    }


def _group(count: GroupCount) -> dict[str, Any]:
    return {
        "rule": count.group.name,
        "relation": count.group.relation,
        "strength": count.group.strength,
        "candidates": count.candidates,
        "asked": count.asked,
        "asked_by_score": count.asked_by_score,
        "held_by_mean": count.held_by_mean,
        "held_by_sum": count.held_by_sum,
        "held": count.held,
        "cases": count.chosen,
        "refused": dict(count.refused.most_common()),
    }


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"least": min(values), "median": statistics.median(values), "most": max(values)}


def as_markdown(sheet: Mapping[str, Any]) -> str:
    """Return a datasheet as Markdown."""
    run, held = sheet["run"], sheet["settings"]["held"]
    scores = " and by ".join(held["scores"])
    lines = [
        f"# Suites built for {run['model']}",
        "",
        f"A fact is *held* when its object is likelier than every other object of its relation, by {scores} of "
        f"the log-probabilities of its tokens, after the rewrite prompt and after {held['paraphrases']:.0%} of the "
        "paraphrases or more. Objects that are true for the subject, by any name, do not compete.",
        "",
        f"Seed {sheet['settings']['seed']}. {sheet['facts']['read']:,} facts of {sheet['facts']['relations']} "
        f"relations were read; {sheet['facts']['in_cases']:,} of them are in the cases.",
        *_run_lines(run),
        "",
        "## Suites",
        "",
        *_table(
            [
                "suite",
                "cases",
                "strict",
                "default",
                "rules",
                "relations",
                "subjects",
                "median of rivals",
                "leaking",
            ],
            [
                [
                    name,
                    suite["cases"],
                    suite["strict"],
                    suite["default"],
                    suite["rules"],
                    suite["relations"],
                    suite["subjects"],
                    "" if suite["rivals"] is None else f"{suite['rivals']['median']:g}",
                    "" if suite["leak_rate"] is None else f"{suite['leak_rate']:.1%}",
                ]
                for name, suite in sheet["suites"].items()
            ],
        ),
    ]
    for name, suite in sheet["suites"].items():
        lines += ["", f"## {name}", "", *_groups(suite)]
        if suite["gaps"]:
            lines += ["", *_gaps(suite)]
        lines += ["", "Refused: " + ("; ".join(f"{n:,} {why}" for why, n in suite["refused"].items()) or "none") + "."]
    lines += [
        "",
        "## Sources of the facts in the cases",
        "",
        *_table(
            ["source", "licence", "facts"],
            [[each["source"], each["license"], each["facts"]] for each in sheet["facts"]["sources"]],
        ),
    ]
    if sheet["facts"]["left_out"]:
        lines += ["", "Records left out while reading: "]
        lines += [f"- {count:,} {reason}" for reason, count in sheet["facts"]["left_out"].items()]
    return "\n".join(lines) + "\n"


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    return [
        f"Model fingerprint {run['fingerprint'][:16]}. {run['questions']:,} questions were asked"
        + (f" ({run['answered_before']:,} answers were there from before)" if run.get("answered_before") else "")
        + f", in {run['seconds']:,.0f} s; at most {run['memory_gb']:.1f} GB of memory."
    ]


def _groups(suite: Mapping[str, Any]) -> list[str]:
    columns = ["rule", "", "candidates", "asked", "by mean", "by sum", "held", "cases"]
    rows = [
        [
            f"`{group['rule']}`",
            group["strength"],
            group["candidates"],
            group["asked"],
            *(_rate(group[key], group["asked_by_score"]) for key in ("held_by_mean", "held_by_sum")),
            _rate(group["held"], group["asked"]),
            group["cases"],
        ]
        for group in suite["groups"]
        if group["candidates"]
    ]
    return [
        *_table(columns, rows),
        "",
        "*by mean*, *by sum*: share of the best known candidates that win by this score after the rewrite prompt. "
        "*held*: share of all that were asked, by the whole definition.",
    ]


def _gaps(suite: Mapping[str, Any]) -> list[str]:
    columns = ["relation", "cases", "closeness", "of all held", "shared trigrams", "of all held"]
    rows = [
        [
            gap["relation"],
            gap["cases"],
            *(f"{gap[key]:.3f}" for key in ("closeness", "closeness_of_all", "trigrams", "trigrams_of_all")),
        ]
        for gap in suite["gaps"]
    ]
    return _table(columns, rows)


def _rate(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        texts = (f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(texts)} |"

    return [line(columns), line("---" for _ in columns), *(line(row) for row in rows)]
