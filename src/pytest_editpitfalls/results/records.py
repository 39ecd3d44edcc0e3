"""The JSON of a run, as types: what `--pitfalls-json` writes and what comes back from it.

The key of a case is (suite, editor, model, id). Numbers are finite; what is unknown is null.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from pytest_editpitfalls.cases.case import Strength, statement
from pytest_editpitfalls.options.editor_labels import without_seed
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.statistics.intervals import Method

from .comparison_records import ComparisonRecord, ReasonRecord, RelativeGateRecord
from .packing import PackableRecord
from .record import Number, Numbers, Record
from .run_records import RunRecord

SCHEMA_VERSION = 1

Outcome = Literal["passed", "failed", "xfailed", "skipped", "error"]


class PropertyRecord(Record):
    """One property of an editor on a model (`--pitfalls-suite=properties`)."""

    property: str = Field(description="its name (docs/properties.md)")
    says: str = Field(default="", description="what it says, in a sentence")
    editor: str
    model: str
    outcome: Outcome = Field(description="xfailed: the editor declares that it does not have it, and it has not")
    examples: int = Field(default=0, ge=0, description="sequences of edits that were looked at")
    declared: str | None = Field(
        default=None, description="why the editor says that it does not have it; null: no word"
    )
    edits: list[str] = Field(default_factory=list, description="the shortest sequence that shows it, one edit a line")
    failure: str | None = Field(default=None, description="what is wrong there, or why it was not looked at")
    replay: str | None = Field(default=None, description="the command that looks at these edits again")


class ProbeRecord(Record):
    """One fact in one state."""

    fact: str = Field(
        description="conflict: old, replaced, new_exp, old_imp, new_imp, tied, replaced_2; "
        "round: object (o1), new_object (o*), other:0, other:1, ... in file order"
    )
    state: str = Field(description="0 base model, 1 after edit 1, 12 after both, 2 after edit 2 alone")
    probabilities: Numbers = Field(
        description="a value for each prompt or text, rewrite prompt first, then the paraphrases in order; of the "
        "measure `probability` exp of the mean log-probability of the object's tokens"
    )
    tokens: int | None = Field(
        default=None,
        description="tokens of the object: `tokens * ln(probability)` is its summed log-probability; null: unknown",
    )
    measure: Measure = Field(
        default="probability",
        description="what the values are: `probability`; `said`, 1 where the model's own words give an answer, else 0; "
        "`perplexity` of a text; `divergence` of the next token from the base model's, KL(base || edited) in nats",
    )
    texts: list[str] = Field(
        default_factory=list, description="of the measure `said`: what the model said after each prompt"
    )


class FactRecord(Record):
    """A fact that was asked, in words."""

    subject: str = Field(default="", description='"" where the kind of pitfall does not say')
    relation: str = Field(default="", description='id of the relation; "" where the kind of pitfall does not say')
    label: str = Field(default="", description='the relation in words; "" where the suite has none')
    object: str = Field(description='"" where the measure is about no object')
    prompt: str = Field(description="the rewrite prompt with the subject in place; the object continues it")
    role: str = Field(default="", description='what the fact is to the case ("what edit 1 writes")')
    joiner: str = Field(default=" ", description="what stands between prompt and object: a space, or nothing")

    @property
    def sentence(self) -> str:
        """The prompt and the object: what the probability is about."""
        return statement(self.prompt, self.object, self.joiner) if self.object else self.prompt


class ThresholdRecord(Record):
    """A case threshold held against its metric."""

    threshold: str
    metric: str
    value: Number = None
    bound: float
    passed: bool | None = Field(description="null: not evaluated, the metric is unknown")
    missed_by: Number = Field(default=None, description="how far beyond the bound, where it failed")


class CaseRecord(PackableRecord):
    """One case with one editor on one model."""

    PACKED = ("edits", "probes", "facts", "thresholds")

    id: str
    source_index: int = Field(ge=0, description="row in the suite's case file, from 0")
    suite: str
    editor: str
    model: str
    seed: int | None = Field(default=None, description="what the editor drew under; null: not known")
    rule: str = Field(default="", description="the group of its suite that it belongs to")
    strength: Strength = Field(
        default="strict",
        description="strict: both edits cannot be true together; default: they are only not expected to be",
    )
    subject: str = Field(default="", description="subject of edit 1: the cluster in statistics over cases")
    edits: list[str] = Field(default_factory=list, description="the edits in words, one per line")
    digest: str = Field(default="", description="of what the case asks: edits, prompts, facts")
    outcome: Outcome
    reason: str | None = Field(default=None, description="why it failed, was skipped or is an error")
    held: bool | None = Field(default=None, description="the base model holds the facts; null: not asked")
    held_parts: dict[str, bool | None] = Field(
        default_factory=dict,
        description="the same for each fact: `edit1` (what edit 1 replaces), `tied` (composite); null: the model's "
        "tokenizer cannot write it",
    )
    metrics: dict[str, Number] = Field(default_factory=dict, description="fractions; null is unknown")
    unequal_tokens: list[str] = Field(
        default_factory=list,
        description="metrics that compare two objects of unequal numbers of tokens in this case: length may decide",
    )
    probes: list[ProbeRecord] = Field(default_factory=list)
    facts: dict[str, FactRecord] = Field(
        default_factory=dict, description="the facts of the probes in words; empty where the case is not at hand"
    )
    thresholds: list[ThresholdRecord] = Field(default_factory=list)
    seconds: Number = Field(default=None, description="the case's share of its batch's wall time")
    cached: bool = Field(default=False, description="true when it came from a store")
    notes: list[str] = Field(default_factory=list)

    @property
    def is_scored(self) -> bool:
        """Whether the case counts in aggregates: the engine scored it, and it was not skipped."""
        return bool(self.metrics) and self.outcome != "skipped"

    @property
    def cluster(self) -> str:
        """The subject of edit 1; a case without one is a cluster of its own."""
        return self.subject or f"\0{self.id}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """(suite, editor, model, id)."""
        return self.suite, self.editor, self.model, self.id


class RelationInterval(Record):
    """The 95 % interval of a mean, for other relations of the same sort: cases of one relation share their prompts."""

    low: Number = Field(description="lower end; null when there is none")
    high: Number = Field(description="upper end; null when there is none")
    clusters: int = Field(ge=0, description="relations or rules among the cases")
    effective: Number = Field(description="independent cases that the cases are worth then")
    method: Method = Field(description="as in the metric's own interval")
    reason: str | None = Field(default=None, description="why an end is missing")


class MetricAggregate(Record):
    """The mean of a metric over the cases that have a value, with a 95 % confidence interval by subject of edit 1."""

    value: Number = Field(description="mean; null when no case has a value")
    low: Number = Field(description="lower end of the interval; null when there is none")
    high: Number = Field(description="upper end of the interval; null when there is none")
    n: int = Field(ge=0, description="cases with a value; of several seeds: with one under every seed")
    clusters: int = Field(default=0, ge=0, description="subjects of edit 1 among them")
    effective: Number = Field(
        default=None, description="independent cases that they are worth: cases of one subject go wrong together"
    )
    method: Method | None = Field(
        default=None,
        description="exact: Clopper and Pearson's, of a share; bounded: Gaffke's, of a mean whose range is known; "
        "open: that with an invented value where the range has no end; none: neither end is known; null: no value, or "
        "written before there was this field",
    )
    reason: str | None = Field(default=None, description="why an end of the interval is missing")
    by_relation: RelationInterval | None = Field(
        default=None, description="the interval by relation or rule; null when the cases name none"
    )
    seed_sd: Number = Field(
        default=None, description="standard deviation of the means of the seeds; null where there is one seed"
    )


class AggregateRecord(Record):
    """The metrics of one suite with one editor on one model, over all of its seeds."""

    suite: str
    editor: str = Field(description="its label; where it ran under several seeds, the label without them")
    model: str
    seeds: list[int] = Field(default_factory=list, description="its seeds, where there are several")
    identical: bool | None = Field(
        default=None, description="whether every case gave the same under all seeds, to the last bit; null: one seed"
    )
    strength: Strength | None = Field(
        default=None, description="the cases' `strength`, in `by_strength`; null: cases of any strength"
    )
    n: int = Field(ge=0, description="cases that were scored, neither skipped nor error; of several seeds: under each")
    metrics: dict[str, MetricAggregate]
    reliable: bool | None = Field(
        default=None,
        description="the interval of es lies at or over the floor `run.success_floor`; false: it lies under it, the "
        "editor hardly edits, so the other figures say little; null: the floor is inside, or es is unknown",
    )
    reliable_reason: str | None = Field(
        default=None, description="why not reliable, or why that is in doubt; null where nothing speaks against it"
    )
    unchanged: int = Field(
        default=0, ge=0, description="scored cases whose first edit left the model as it was: they did not take"
    )
    repeatable: bool = Field(
        default=True,
        description="false: a case of this editor depends on the cases before it, so none of its figures counts; "
        "`reliable` is false then",
    )


class GateRecord(Record):
    """A gate held against one aggregate."""

    gate: str
    suite: str
    editor: str | None = None
    model: str | None = None
    metric: str
    value: Number = None
    low: Number = None
    high: Number = None
    bound: float
    passed: bool | None = Field(description="null: not evaluated, see reason; never a pass")
    reason: str | None = None
    reliable: bool | None = Field(default=None, description="as in its aggregate; it does not change `passed`")


class RunResults(Record):
    """The whole document."""

    schema_version: Literal[1] = 1
    run: RunRecord
    cases: Annotated[list[CaseRecord], FailFast()] = Field(default_factory=list)
    aggregates: list[AggregateRecord] = Field(default_factory=list)
    held_aggregates: list[AggregateRecord] = Field(
        default_factory=list, description="the same over the cases whose facts the base model holds (`cases[].held`)"
    )
    by_seed: list[AggregateRecord] = Field(
        default_factory=list, description="each seed by itself, of editors that ran under several"
    )
    by_strength: list[AggregateRecord] = Field(
        default_factory=list,
        description="`aggregates` over strict cases and over default ones, of suites that have both",
    )
    properties: list[PropertyRecord] = Field(
        default_factory=list, description="what `--pitfalls-suite=properties` found; no case or figure is made of them"
    )
    gates: list[GateRecord] = Field(default_factory=list)
    relative_gates: list[RelativeGateRecord] = Field(default_factory=list)
    comparison: ComparisonRecord | None = Field(default=None, description="null without a baseline")
    reasons: list[ReasonRecord] = Field(
        default_factory=list, description="why the run fails, apart from failed gates and failed tests"
    )

    def figures_of(self, case: CaseRecord) -> tuple[str, str, str]:
        """Return (suite, editor, model) of the aggregate that a case counts in: of several seeds, without the seed."""
        together = case.suite, without_seed(case.editor), case.model
        return together if together in self._over_seeds else (case.suite, case.editor, case.model)

    @property
    def _over_seeds(self) -> set[tuple[str, str, str]]:
        return {(each.suite, each.editor, each.model) for each in self.aggregates if each.seeds}
