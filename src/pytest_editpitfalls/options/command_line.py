"""The options and ini keys that pytest learns from us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import encodable

from .defaults import DEFAULT_MODEL, DEFAULT_STORE, SUCCESS_FLOOR

SHORT_FORMS = {
    "--editor": "--pitfalls-editor",
    "--model": "--pitfalls-model",
    "--edited": "--pitfalls-edited",
    "--base": "--pitfalls-base",
}

SHORT_FORMS_TAKEN: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
"""The short forms that another plugin or conftest owns; filled in when the initial conftests are loaded."""

THREADS_SLEEP: pytest.StashKey[bool] = pytest.StashKey()
"""Whether torch will read what makes its threads sleep soon: it does not where it was imported before that was set."""


HELP = {
    "editor": "edit with EDITOR (for instance rome, or package.module:attribute for your own) and judge what it "
    "breaks; may be given several times",
    "model": f"model to edit: a name, Hugging Face id, directory or GGUF file; may be given several times "
    f"(default: {DEFAULT_MODEL})",
    "edited": "audit a finished edited checkpoint instead of an editor: a directory (a whole model or a LoRA adapter); "
    "may be given several times",
    "base": "the model that the edited checkpoint is compared with: a name, Hugging Face id or directory",
    "suite": "suite to run: a name, a group (conflict, distortion, spread, lifelong, said, all), the path of a case "
    "file, or properties (those of editors, with hypothesis); may be given several times (default: reverse, composite, "
    "coverage, easy and hard, the group default)",
    "edits": "make the cases around your own edits: a JSONL, CSV or JSON file of edits; instead of the suites, unless "
    "they are asked for as well",
    "together": "write all edits of --pitfalls-edits in one step, as one batch, instead of each on its own",
    "example": "with --pitfalls-suite=properties: look at these edits instead of drawn ones, as a failure prints them",
    "facts": "with --pitfalls-edits or properties: a table of facts, instead of those that ship; may be given several "
    "times",
    "relations": "with --pitfalls-edits or properties: relations.toml, instead of the one that ships",
    "rules": "with --pitfalls-edits: rules.toml, instead of the one that ships",
    "limit": "at most N cases per suite, drawn evenly from its rules, always the same ones",
    "set": "set one hyper-parameter: EDITOR.KEY=VALUE, for instance rome.v_lr=0.1; may be given several times",
    "config": "hyper-parameters: a TOML file with one table per editor, or one editor's published YAML or JSON",
    "checkout": "where the checkout of a collection of editors lies: NAME=DIR, for instance easyedit=../EasyEdit for "
    "--editor=easyedit:ROME; may be given several times",
    "editor_python": "run editors given as module:attribute or easyedit:NAME in this interpreter, each edit in a "
    "process that loads the model (slow)",
    "device": "auto, cpu, cuda or cuda:N (default: auto, which is cuda where there is one, and all GPUs together for a "
    "model that does not fit on one)",
    "dtype": "float32, bf16-weights, bfloat16, float16, float64 or tf32, or quantised on loading: int8 (torchao), nf4 "
    "(bitsandbytes) (default: float32 on a cpu, the checkpoint's own on cuda)",
    "batch_size": "cases edited together: a number or auto (default: auto)",
    "seed": "seed of everything that is random (default: 0)",
    "seeds": "run each editor under N seeds, --pitfalls-seed and those after it, and take the variance between them "
    "into intervals and gates (default: 1)",
    "success_floor": "mark figures as unreliable where the interval of the editor's edit success is under this "
    f"fraction (default: {SUCCESS_FLOOR})",
    "untaken": "what becomes of a case whose own edit did not take (es = 0): fail (default), or judge it by the "
    "suite's own thresholds alone",
    "judge": "score what a model says with MODULE:ATTRIBUTE, a function of (prompt, text, answers) that returns a "
    "number from 0 to 1, instead of comparing words",
    "held_only": "skip cases whose facts the model does not hold before any edit (field held): aggregates and gates "
    "are then over held cases alone",
    "store": f"directory where every finished case is kept and looked up (default: {DEFAULT_STORE} in the rootdir)",
    "fresh": "ignore stored results: compute every case anew",
    "replay": "judge and report stored results alone; no model is loaded",
    "replay_run": "with --pitfalls-replay, where the store holds several runs: the KEY of the one that is meant (its "
    "beginning is enough); may be given several times",
    "shard": "run the K-th of N parts of the selected cases: K/N, for instance 3/16",
    "timeout": "seconds that a batch may take; then its cases run one by one, and one that takes longer is an error",
    "isolate": "run each case in a forked process of its own: whatever an editor keeps goes with it (on a CPU)",
    "engine": "who runs the batches: local (this process, or the workers of -n; default), ray (actors of Ray, "
    "one per GPU, or without a GPU one per two CPUs) or ray:N (N of them)",
    "save": "after a complete run, save its cases as a baseline: a NAME (pitfalls-baselines/NAME.json) or a FILE",
    "baseline": "compare with this baseline (NAME or FILE): a case that failed there too is a known pitfall",
    "update_baseline": "write this run over the baseline, whatever became worse",
    "fail_on": "gate relative to the baseline, for instance 'reverse.cs_exp:2pp' or 'easy.distortion:5%%'; may be "
    "given several times",
    "inconclusive": "what a relative gate means that is inconclusive: nothing, so that each new failure counts "
    "(cases, default) or those that exceed chance (excess), a pass (pass) or a failure (fail)",
    "strict": "the same as --pitfalls-inconclusive=fail",
    "gate": "gate on a suite's metric, for instance 'reverse.cs_exp >= 0.6'; may be given several times",
}


def add_options(parser: pytest.Parser, reports: Mapping[str, str]) -> None:
    """Register the prefixed options and the ini keys; ``reports``: name -> help of each form of report."""
    help_of = {**HELP, **reports}
    group = parser.getgroup("editpitfalls", "knowledge editing pitfalls (pytest-editpitfalls)")

    def option(name: str, **kwargs: Any) -> None:
        flag = "--pitfalls-" + name.replace("_", "-")
        group.addoption(flag, dest=f"pitfalls_{name}", default=None, help=help_of[name], **kwargs)

    option("editor", action="append", metavar="EDITOR")
    option("model", action="append", metavar="MODEL")
    option("edited", action="append", metavar="DIR")
    option("base", action="append", metavar="MODEL")
    option("suite", action="append", metavar="SUITE")
    option("edits", metavar="EDITS")
    option("example", metavar="EDITS")
    option("together", action="store_true")
    option("facts", action="append", metavar="FILE")
    option("relations", metavar="FILE.toml")
    option("rules", metavar="FILE.toml")
    option("limit", metavar="N")
    option("set", action="append", metavar="EDITOR.KEY=VALUE")
    option("config", metavar="FILE")
    option("checkout", action="append", metavar="NAME=DIR")
    option("editor_python", metavar="PATH")
    option("device", metavar="DEVICE")
    option("dtype", metavar="DTYPE")
    option("batch_size", metavar="N|auto")
    option("seed", metavar="N")
    option("seeds", metavar="N")
    option("gate", action="append", metavar="GATE")
    option("success_floor", metavar="FRACTION")
    option("untaken", metavar="fail|judge")
    option("judge", metavar="MODULE:ATTRIBUTE")
    option("held_only", action="store_true")
    option("save", metavar="NAME|FILE")
    option("baseline", metavar="NAME|FILE")
    option("update_baseline", action="store_true")
    option("fail_on", action="append", metavar="GATE")
    option("inconclusive", metavar="cases|excess|pass|fail")
    option("strict", action="store_true")
    for report in reports:
        option(report, metavar="PATH")
    option("store", metavar="DIR")
    option("fresh", action="store_true")
    option("replay", action="store_true")
    option("replay_run", action="append", metavar="KEY")
    option("shard", metavar="K/N")
    option("timeout", metavar="SECONDS")
    option("isolate", action="store_true")
    option("engine", metavar="local|ray|ray:N")

    parser.addini("pitfalls_model", "models to edit (default: smollm2-135m)", type="args", default=[])
    parser.addini(
        "pitfalls_suites",
        "suites that run where no path is given (default: the group default)",
        type="args",
        default=[],
    )
    for name, text in (
        ("gates", "gates, one per line: reverse.cs_exp >= 0.6"),
        ("thresholds", "thresholds that a case must meet, one per line: reverse: cs_exp >= 1"),
        ("fail_on", "gates relative to the baseline, one per line: reverse.cs_exp:2pp"),
    ):
        parser.addini(f"pitfalls_{name}", text, type="linelist", default=[])
    parser.addini("pitfalls_facts", "tables of facts for pitfalls_edits", type="args", default=[])
    for name in ("strict", "isolate", "held_only", "together"):
        parser.addini(f"pitfalls_{name}", HELP[name], type="bool", default=False)
    parser.addini("pitfalls_set", "hyper-parameters, one per line: rome.v_lr=0.1", type="linelist", default=[])
    parser.addini(
        "pitfalls_checkouts",
        "checkouts of collections of editors, one per line: easyedit=../EasyEdit",
        type="linelist",
        default=[],
    )
    for name in (
        "edits",
        "relations",
        "rules",
        "config",
        "device",
        "dtype",
        "batch_size",
        "seed",
        "seeds",
        "limit",
        "success_floor",
        "untaken",
        "judge",
        "inconclusive",
        "store",
        "baseline",
        "timeout",
        "engine",
    ):
        parser.addini(f"pitfalls_{name}", HELP[name], default="")


def refuse_unusable(config: pytest.Config) -> None:
    """Raise `UsageError` for ``--pitfalls-model=`` and the like: an unset variable in a script, not a wish.

    Also for a file name that is not UTF-8: reports, the store and workers carry names as text.
    """
    for dest, given in vars(config.option).items():
        if given is None or not dest.startswith("pitfalls_"):
            continue
        name = dest.removeprefix("pitfalls_")
        where = f"--pitfalls-{name.replace('_', '-')}"
        for value in map(str, given if isinstance(given, list) else [given]):
            if not value.strip():
                raise UsageError("the value is empty", where=where, fix="give a value or leave the option out")
            if encodable(value, "utf-8") != value:
                raise UsageError(f"the name '{value}' is not UTF-8", where=where, fix="rename the file or directory")


def add_short_forms(parser: pytest.Parser, args: Sequence[str], *, has_editor: bool = False) -> tuple[str, ...]:
    """Register the short forms where they are used (or help is asked) and no other plugin owns them.

    Called after the initial conftests were loaded, so that theirs win. An option that nobody typed is not
    registered: a conftest found later, during collection, may then still own it. Nothing is looked up for a run
    without an editor: each look makes argparse build its parser, which takes longer than the rest of our start.

    Returns the short forms that another plugin or conftest owns; none in a run without an editor.
    """
    wants_help = any(arg in {"-h", "--help"} for arg in args)
    typed = short_forms_in(args)
    if not (typed or wants_help or has_editor):
        return ()
    free = free_of(parser, SHORT_FORMS)
    taken = tuple(short for short in SHORT_FORMS if short not in free)
    for short, long in SHORT_FORMS.items():
        if not (short in typed or wants_help) or short in taken:
            continue
        name = long.removeprefix("--pitfalls-")
        parser.getgroup("editpitfalls").addoption(
            short,
            dest=f"pitfalls_{name}",
            action="append",
            default=None,
            metavar={"edited": "DIR", "base": "MODEL"}.get(name, name.upper()),
            help=f"short form of {long}",
        )
    return taken


def asks_for_a_run(options: Any) -> bool:
    """Whether an editor is given, or a finished checkpoint in its place."""
    return bool(options.pitfalls_editor or options.pitfalls_edited)


def short_forms_in(args: Sequence[str]) -> set[str]:
    """Return the short forms that were typed."""
    return {short for short in SHORT_FORMS for arg in args if arg == short or arg.startswith(f"{short}=")}


def free_of(parser: pytest.Parser, flags: Iterable[str]) -> set[str]:
    """Return those of ``flags`` that no plugin or conftest has registered."""
    given = {f"{flag}=x": flag for flag in flags}
    return {given[word] for word in parser.parse_known_and_unknown_args([*given])[1]}
