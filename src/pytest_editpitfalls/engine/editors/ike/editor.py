"""IKE: demonstrations from other cases, then the new fact (Zheng et al. 2023, arXiv 2305.12740; zjunlp/EasyEdit IKE).

    {demonstration}{demonstration}...New Fact: {rewrite prompt} {target}
    Prompt: ...

- Demonstrations: ``k`` of them, copy : update : retain as 1 : 3 : 4, from other cases of the suite; none from a case
  that shares a subject or an object (normalised labels) with any edit of this case.
- Retriever: cosine of the base model's mean hidden states of the facts (`MeanHiddenState`), nearest first;
  with several facts in the prefix, by the nearest of them. The paper and the released code take a sentence encoder,
  which would be a second model: the record says which retriever it was.
- A later edit's fact goes behind the earlier ones, so the newest stands last (see `ice`).
- Where the suite has too few cases or the context window is too short, there are fewer demonstrations, and the case's
  notes say so. Without a suite there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.engine.in_context import Facts, Window, fact_text, facts_text, prefix_result, program_of
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import Program, SuitePrograms

from .demonstrations import SHARES, Demonstration, Source, demonstrations, entities, sources
from .hyperparameters import IkeHyperparameters

NAME = "mean_hidden_state"


@dataclass(frozen=True)
class _Pool:
    """A suite's sources and their vectors (sources, hidden)."""

    suite: SuitePrograms
    sources: list[Source]
    vectors: Tensor | None


class Ike(ShippedEditor[IkeHyperparameters]):
    """The editor. See the module's docstring. A suite's vectors are computed with its first case."""

    name = "ike"

    def __init__(self, hyperparameters: IkeHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        self._window = Window(self._host)
        self._retriever = MeanHiddenState(resources.forward, max_tokens=resources.max_tokens)
        self._pools: dict[str, _Pool] = {}

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Put demonstrations and each job's facts into its prefix."""
        facts: list[Facts] = [(*(job.state or ()), *job.requests) for job in jobs]
        queries = self._queries(jobs, facts, progress)
        results = []
        for place, (job, known) in enumerate(zip(jobs, facts, strict=True)):
            try:
                results.append(self._result(job, known, queries[place], progress))
            except CaseError as error:
                results.append(EditResult(error=f"edit {job.step}: {error}"))
            progress(Progress("edit", place + 1, len(jobs)))
        return results

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, format and how demonstrations are found."""
        return super().describe() | {
            "format": "New Fact: {prompt} {target}\\n ... Prompt: ",
            "retriever": {
                "name": NAME,
                "measure": "cosine",
                "after_block": self._retriever.blocks,
                "tokens": "all but the first",
            },
            "ratio": dict(SHARES),
            "suites": {name: len(pool.sources) for name, pool in self._pools.items()},
        }

    def _queries(
        self, jobs: Sequence[EditJob], facts: Sequence[Facts], progress: ProgressCallback
    ) -> list[Tensor | None]:
        """Vectors (facts, hidden) of each job's facts; None where there is nothing to search."""
        wanted = [i for i, job in enumerate(jobs) if job.suite is not None and facts[i]]
        found: list[Tensor | None] = [None] * len(jobs)
        if wanted:
            vectors = self._retriever.vectors([fact_text(fact) for i in wanted for fact in facts[i]])
            parts = vectors.split([len(facts[i]) for i in wanted])
            for index, part in zip(wanted, parts, strict=True):
                found[index] = part
        return found

    def _result(self, job: EditJob, facts: Facts, queries: Tensor | None, progress: ProgressCallback) -> EditResult:
        program = program_of(job)
        end = facts_text(facts)
        self._window.check(end, program)
        if job.suite is None or queries is None:
            note = f"edit {job.step}: no demonstrations: the suite is not known, so this is ICE"
            return prefix_result(job, facts, end, (note,))
        chosen = self._chosen(job, facts, program, queries, progress)
        fitting = self._fitting(chosen, end, program)
        text = "".join(each.text for each in fitting) + end
        return prefix_result(job, facts, text, self._notes(job, chosen, fitting))

    def _chosen(
        self,
        job: EditJob,
        facts: Facts,
        program: Program | None,
        queries: Tensor,
        progress: ProgressCallback,
    ) -> list[Demonstration]:
        assert job.suite is not None
        pool = self._pool(job.suite, progress)
        if pool.vectors is None:
            return []
        edits = [*facts, *(request for step in (program.steps if program else ()) for request in step)]
        own = entities(edits)
        ranked = [pool.sources[index] for index in ranking(queries, pool.vectors)]
        allowed = [source for source in ranked if source.case_id != job.case_id and not source.entities & own]
        return demonstrations(allowed, self._hp.k)

    def _fitting(self, chosen: list[Demonstration], end: str, program: Program | None) -> list[Demonstration]:
        """As many as the context window holds; the least similar go first."""
        count = len(chosen)
        while count and not self._window.fits("".join(each.text for each in chosen[:count]) + end, program):
            count -= 1
        return chosen[:count]

    def _notes(self, job: EditJob, chosen: list[Demonstration], fitting: list[Demonstration]) -> tuple[str, ...]:
        kinds = Counter(each.kind for each in fitting)
        shares = ", ".join(f"{kinds[kind]} {kind}" for kind in SHARES)
        notes = [f"edit {job.step}: {len(fitting)} demonstrations ({shares}) by {NAME}"]
        if len(chosen) < self._hp.k:
            notes.append(
                f"edit {job.step}: the suite has other cases for {len(chosen)} demonstrations only, not {self._hp.k}"
            )
        if len(fitting) < len(chosen):
            notes.append(
                f"edit {job.step}: {len(chosen) - len(fitting)} demonstrations left out: "
                f"the context window has {self._window.size} tokens"
            )
        return tuple(notes)

    def _pool(self, suite: SuitePrograms, progress: ProgressCallback) -> _Pool:
        known = self._pools.get(suite.name)
        if known is None or known.suite is not suite:
            found = sources(suite.programs)
            texts = [fact_text(source.request) for source in found]

            def report(done: int) -> None:
                progress(Progress("demonstrations", done, len(texts)))

            vectors = self._retriever.vectors(texts, report) if texts else None
            known = _Pool(suite, found, vectors)
            self._pools[suite.name] = known
        return known


class MeanHiddenState:
    """Vectors of texts: the base model's hidden states after the middle block, averaged over the text's tokens.

    The first token is left out where there are others: in most models it collects attention, and its huge hidden
    state would make all texts alike.

    Args:
        max_tokens: padded tokens per forward pass.
    """

    def __init__(self, forward: Forward, *, max_tokens: int) -> None:
        self._forward, self._max_tokens = forward, max_tokens
        self.blocks = max(1, forward.n_layers // 2)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda _: None) -> Tensor:
        """(texts, hidden) unit vectors in float64; ``on_done`` is called with the number done."""
        host = self._forward.host
        ids = [host.encoder.prompt(text) for text in texts]
        found: dict[int, Tensor] = {}
        for bucket in buckets([len(row) for row in ids], max_tokens=self._max_tokens, slack=LAUNCH_TOKENS):
            rows = Rows.pad([ids[index] for index in bucket], host.device)
            hidden = self._forward.blocks(rows, last=self.blocks).double()
            for row, index in zip(hidden, bucket, strict=True):
                count = len(ids[index])
                found[index] = row[min(1, count - 1) : count].mean(dim=0)
            on_done(len(found))
        return torch.nn.functional.normalize(torch.stack([found[index] for index in range(len(ids))]), dim=1)


def ranking(queries: Tensor, pool: Tensor) -> list[int]:
    """Indices of ``pool`` (n, hidden), nearest first, by the greatest cosine with any of ``queries`` (q, hidden).

    Rounded, so that batches of another size rank alike; ties keep the pool's order.
    """
    score = (pool @ queries.T).amax(dim=1).mul(1e5).round()
    return [int(index) for index in score.argsort(descending=True, stable=True)]
