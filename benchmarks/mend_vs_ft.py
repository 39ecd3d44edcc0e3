"""Does MEND edit better than fine-tuning at equal locality?

    python -m benchmarks.mend_vs_ft --weights mend.safetensors [--model smollm2-135m] [--cases 40]

Writes edit 1 of cases of the suites that ship (none of their subjects is trained on) with MEND at several scales of its
update and with fine-tuning at several learning rates. Success: the new object is likelier than the old one, on the
rewrite prompt and on paraphrases. Locality: mean KL divergence (nats) of base and edited model's next-token
distributions on prompts about other subjects; 0 is perfect. The last table reads off fine-tuning's curve what it
reaches at MEND's locality; beyond the curve's ends the end is taken. Ends with 1 where MEND is not better everywhere.
"""

from __future__ import annotations

import argparse
import bisect
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from pytest_editpitfalls.engine.batches_of_model import CPU_TOKENS, GPU_TOKENS
from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.forward import Rows
from pytest_editpitfalls.engine.hypernetworks.examples import LowerBlocks
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import EditedModel, Overlay
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import PitfallsError
from pytest_editpitfalls.pitfalls import Case, Edit
from pytest_editpitfalls.program import EditRequest
from pytest_editpitfalls.suites import load_suite
from pytest_editpitfalls.suites.discovery import shipped_suites

LEARNING_RATES = ("2e-4", "5e-4", "1e-3", "3e-3")
SCALES = ("0.25", "0.5", "1.0")


@dataclass(frozen=True)
class Point:
    """One editor with one setting, over all cases.

    Attributes:
        editor: name and setting.
        rewrite: share of rewrite prompts where the new object is likelier than the old one.
        paraphrase: the same over all paraphrases.
        new: geometric mean probability of the new object over the paraphrases.
        kl: mean KL divergence on prompts about other subjects, nats.
        seconds: editing, per case.
    """

    editor: str
    rewrite: float
    paraphrase: float
    new: float
    kl: float
    seconds: float


class Comparison:
    """The cases, the other prompts and the base model's answers.

    Args:
        cases: whose edit 1 is written.
        others: prompts about other subjects.
        paraphrases: of each case, at most.
    """

    def __init__(self, session: EngineSession, cases: Sequence[Case], others: Sequence[str], paraphrases: int) -> None:
        self.session, self.cases, self.paraphrases = session, cases, paraphrases
        host = session.host
        self.tokens = CPU_TOKENS if host.device.type == "cpu" else GPU_TOKENS
        self.others = [host.encoder.prompt(text) for text in others]
        self.base = self._answers([()])[0]

    def point(self, editor: str, label: str, **values: str) -> Point:
        """Edit all cases and ask them."""
        session = self.session
        declaration = EDITORS.get(editor, where="benchmark")
        model, depth = session.settings.model, session.host.n_layers
        hp = resolve_hyperparameters(editor, declaration.hyperparameter_class(), model, depth, overrides=values)
        cache, fingerprint = session.source.cache, session.fingerprint
        moments = SecondMoments(session.forward, fingerprint=fingerprint, cache=cache, max_tokens=self.tokens)
        resources = EditorResources(session.host, session.forward, moments, session.settings, self.tokens)
        made = declaration.make(hp, resources)
        made.prepare()
        models: list[EditedModel] = []
        rewrite: list[bool] = []
        paraphrase: list[bool] = []
        new: list[float] = []
        kl: list[float] = []
        seconds = 0.0
        for start in range(0, len(self.cases), 8):  # whole matrices of all cases at once would not fit
            part = self.cases[start : start + 8]
            started = time.perf_counter()
            results = made.edit([EditJob(case.id, 1, (request(case),)) for case in part])
            seconds += time.perf_counter() - started
            if errors := [result.error for result in results if result.error]:
                raise PitfallsError(str(errors[0]), where=f"{label}, {part[0].id} and following")
            models = [result.model for result in results]
            for gains, first in self._scores(models, part):
                rewrite.append(gains[0] > 0)
                paraphrase += [gain > 0 for gain in gains[1:]]
                new += first[1:]
            kl += [
                float((self.base.exp() * (self.base - answer)).sum(dim=1).mean()) for answer in self._answers(models)
            ]
        n = len(self.cases)
        return Point(
            label,
            sum(rewrite) / n,
            sum(paraphrase) / len(paraphrase),
            math.exp(sum(new) / len(new)),
            sum(kl) / n,
            seconds / n,
        )

    def _scores(self, models: Sequence[EditedModel], cases: Sequence[Case]) -> list[tuple[list[float], list[float]]]:
        """Per case and prompt: log p(new) - log p(old), and log p(new)."""
        encoder = self.session.host.encoder
        questions = [
            Question(index, encoder.prompt(prompt), encoder.target(label))
            for index, case in enumerate(cases)
            for prompt in self._prompts(case)
            for label in (case.edits[0].new_object, case.edits[0].object)
        ]
        values = iter(Scorer(self.session.forward, max_tokens=self.tokens).mean_log_probs(models, questions))
        found = []
        for case in cases:
            pairs = [(next(values), next(values)) for _ in self._prompts(case)]
            found.append(([a - b for a, b in pairs], [a for a, _ in pairs]))
        return found

    def _prompts(self, case: Case) -> tuple[str, ...]:
        edit = case.edits[0]
        return case.relation(edit.relation).questions(edit.subject)[: 1 + self.paraphrases]

    @torch.no_grad()
    def _answers(self, models: Sequence[EditedModel]) -> list[torch.Tensor]:
        """Per model (prompts, vocabulary): log-probabilities of what follows the other prompts."""
        forward, device = self.session.forward, self.session.host.device
        overlay = Overlay(self.session.host, models)
        first = min(overlay.lowest_layer(0), forward.n_layers - 1)
        lower = LowerBlocks(forward, first, max_tokens=self.tokens)
        found: list[torch.Tensor] = []
        for index in range(len(models)):
            logits: dict[int, torch.Tensor] = {}
            for bucket in buckets([len(row) for row in self.others], max_tokens=self.tokens):
                rows = [self.others[place] for place in bucket]
                lengths = torch.tensor([len(row) for row in rows], device=device)
                served = torch.full((len(rows),), index, device=device)
                with overlay.rows(served, lengths):
                    hidden = forward.blocks(Rows.pad(rows, device), first=first, hidden=lower.of(rows))
                at_end = hidden[torch.arange(len(rows), device=device), lengths - 1]
                logits.update(zip(bucket, forward.head(at_end).log_softmax(dim=1), strict=True))
            found.append(torch.stack([logits[place] for place in range(len(self.others))]))
        return found


def request(case: Case) -> EditRequest:
    """Edit 1 of a case."""
    edit: Edit = case.edits[0]
    return EditRequest(case.relation(edit.relation).prompt, edit.subject, edit.new_object, edit.object, edit.relation)


def choose(count: int, others: int, seed: int) -> tuple[list[Case], list[str]]:
    """``count`` cases from all shipped suites in equal parts, and prompts about subjects of no chosen case."""
    draw = random.Random(seed)
    pools = [list(load_suite(name).cases) for name in shipped_suites()]
    for pool in pools:
        draw.shuffle(pool)
    chosen = [pools[index % len(pools)][index // len(pools)] for index in range(count)]
    taken = {name for case in chosen for edit in case.edits for name in (edit.subject, edit.object, edit.new_object)}
    rest: dict[str, str] = {}
    for pool in pools:
        for case in pool:
            edit = case.edits[0]
            if edit.subject not in taken:
                rest.setdefault(edit.subject, case.relation(edit.relation).questions(edit.subject)[0])
    return chosen, draw.sample(sorted(rest.values()), min(others, len(rest)))


def at_locality(curve: Sequence[Point], kl: float) -> tuple[float, float]:
    """The curve's success on paraphrases and p(new) at this KL: linear in log KL (p(new): log-log), its ends held."""
    points = sorted(curve, key=lambda point: point.kl)
    at = [math.log(point.kl) for point in points]
    asked = min(max(math.log(kl), at[0]), at[-1])
    upper = max(bisect.bisect_left(at, asked), 1) if len(points) > 1 else 0
    a, b = points[max(upper - 1, 0)], points[upper]
    width = math.log(b.kl) - math.log(a.kl)
    share = (asked - math.log(a.kl)) / width if width else 0.0
    new = math.log(a.new) + share * (math.log(b.new) - math.log(a.new))
    return a.paraphrase + share * (b.paraphrase - a.paraphrase), math.exp(new)


def table(title: str, points: Sequence[Point]) -> Table:
    shown = Table(title=title)
    shown.add_column("editor")
    for name in ("rewrite", "paraphrases", "p(new)", "KL elsewhere", "s per edit"):
        shown.add_column(name, justify="right")
    for point in points:
        shown.add_row(
            point.editor,
            f"{point.rewrite:.1%}",
            f"{point.paraphrase:.1%}",
            f"{point.new:.2g}",
            f"{point.kl:.2g}",
            f"{point.seconds:.2f}",
        )
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, required=True, help="what train-mend has written")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--paraphrases", type=int, default=5)
    parser.add_argument("--others", type=int, default=20, help="prompts about other subjects")
    parser.add_argument("--against", nargs="*", default=["ft"], help="ft, ft-l, ft-m")
    parser.add_argument("--rates", nargs="*", default=LEARNING_RATES, help="learning rates of fine-tuning")
    parser.add_argument("--scales", nargs="*", default=SCALES, help="what MEND's update is multiplied by")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        session = EngineSession.open(EngineSettings(options.model), console.print)
        cases, others = choose(options.cases, options.others, options.seed)
        comparison = Comparison(session, cases, others, options.paraphrases)
        weights = str(options.weights)
        mend = [
            comparison.point("mend", f"mend lr_scale={scale}", weights=weights, lr_scale=scale)
            for scale in options.scales
        ]
        curves = {
            editor: [comparison.point(editor, f"{editor} lr={lr}", lr=lr) for lr in options.rates]
            for editor in options.against
        }
    except PitfallsError as error:
        console.print(str(error), markup=False)
        return 2
    every = [*mend, *(point for curve in curves.values() for point in curve)]
    console.print(table(f"{len(cases)} edits, {len(others)} prompts elsewhere", every))
    if not mend or not any(curves.values()):
        return 0
    equal = Table(title="fine-tuning at MEND's locality: paraphrases, p(new)")
    for name in ("MEND", "KL elsewhere", "itself", *curves):
        equal.add_column(name)
    better = True
    for point in mend:
        found = {name: at_locality(curve, point.kl) for name, curve in curves.items()}
        pairs = [(point.paraphrase, point.new), *found.values()]
        equal.add_row(point.editor, f"{point.kl:.2g}", *(f"{share:.1%}, {new:.2g}" for share, new in pairs))
        better &= all(point.paraphrase > share and point.new > new for share, new in found.values())
    console.print(equal)
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
