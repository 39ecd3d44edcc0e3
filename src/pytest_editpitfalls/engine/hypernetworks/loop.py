"""The training loop of editors' networks, with everything that a checkpoint has to hold.

The order of events is MEND's published one (eric-mitchell/mend trainer.py): gradients of some edits are summed,
clipped and given to Adam; edits whose loss is not finite are skipped; every ``val_interval`` edits the network is
validated on facts of other subjects, the best one is kept, and training stops ``early_stop_patience`` edits after it.
What the gradients of an edit are is the editor's own (`TrainingRun.learn`).
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.token_gradients import Matrix
from pytest_editpitfalls.errors import UsageError

from .checkpoint import Checkpoint, checkpoint_path
from .data import TrainingData, TrainingFact
from .display import TrainingDisplay, Validation
from .examples import Example, ExampleMaker, Losses
from .hyperparameters import TrainingHyperparameters
from .weights import MALFORMED, NetworkKind, WeightsHeader, save_weights

CHECKPOINT_SECONDS = 120.0
"""A checkpoint is written at every validation, and after so long without one."""


N = TypeVar("N", bound=nn.Module)
H = TypeVar("H", bound=TrainingHyperparameters)


class TrainingRun(ABC, Generic[H, N]):
    """One training, started or resumed. A subclass says what is learnt from an edit.

    Args:
        model: its name.
        out: where the best network goes; the checkpoint goes beside it.
        max_tokens: padded tokens per pass.

    Attributes:
        kind: whose networks they are.
        options_class: the training's hyper-parameters.
        edits_per_step: edits of one step of Adam.
        grad_clip: norm that gradients are scaled down to.
    """

    kind: ClassVar[NetworkKind[Any]]
    options_class: ClassVar[type[TrainingHyperparameters]]

    def __init__(
        self,
        forward: Forward,
        model: str,
        fingerprint: str,
        data: TrainingData,
        out: Path,
        options: H,
        *,
        max_tokens: int,
        display: TrainingDisplay | None = None,
    ) -> None:
        host = forward.host
        if any(layer >= host.n_layers for layer in options.layers):
            raise UsageError(
                f"layers is {list(options.layers)}, but the model has the layers 0 to {host.n_layers - 1}",
                where=self.kind.command,
                fix="leave layers out to train for the blocks that the editor chooses by itself",
            )
        self._forward, self._model, self._fingerprint = forward, model, fingerprint
        self._data, self._out, self._options, self._display = data, out, options, display
        self._max_tokens = max_tokens
        self._matrices = self.matrices()
        self.network = self.make_network().to(host.device)
        self.optimiser = torch.optim.Adam(self.parameter_groups())
        self._training = ExampleMaker(host.encoder, data.training)
        self._validation = ExampleMaker(host.encoder, data.validation)
        for maker, facts in ((self._training, data.training), (self._validation, data.validation)):
            if not maker.facts:
                raise UsageError(
                    f"the model's tokenizer can write none of {len(facts)} facts",
                    where=f"{self.kind.command} --data",
                    fix="give data in a language and script that the model knows",
                )
        self._order: tuple[int, list[int]] = (-1, [])
        self._saved = time.monotonic()
        self._validated_at = 0
        self.edits = self.steps = self.skipped = self.best_at = 0
        self.first: Validation | None = None
        self.best: Validation | None = None

    # What a subclass says

    @property
    @abstractmethod
    def edits_per_step(self) -> int:
        """See the class."""

    @property
    @abstractmethod
    def grad_clip(self) -> float:
        """See the class."""

    @abstractmethod
    def matrices(self) -> tuple[Matrix, ...]:
        """The edited matrices, as ``options`` names them; raises `UsageError` where the model does not have them."""

    @abstractmethod
    def make_network(self) -> N:
        """The untrained network for `matrices`."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's parameters with their learning rates, as torch's optimisers take them."""

    @abstractmethod
    def learn(self, examples: Sequence[Example]) -> list[Losses]:
        """Add up the gradients of a step of Adam; returns the losses of those that were not skipped."""

    @abstractmethod
    def judge(self, network: N, examples: Sequence[Example]) -> list[Losses]:
        """The losses of a validation; neither network nor run are changed."""

    @abstractmethod
    def total(self, losses: Losses) -> torch.Tensor:
        """(n,) each example's loss."""

    def untrained(self) -> N:
        """The network for the first validation."""
        return self.network

    # What all have in common

    def run(self) -> str:
        """Train until the end; returns why it ended: "max_iters" or "early stop"."""
        options = self._options
        if self.first is None:
            self.first = self._validate_first()
        while self.edits < options.max_iters:
            self._step()
            if self.edits - self._validated_at >= options.val_interval:
                self._validate_and_keep()
                if self.edits - self.best_at >= options.early_stop_patience:
                    return "early stop"
            elif time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self.save_checkpoint()
        if self._validated_at < self.edits or self.best is None:
            self._validate_and_keep()
        return "max_iters"

    def resume(self) -> None:
        """Go on from the checkpoint; raises `UsageError` where there is none or it is another training's."""
        path = checkpoint_path(self._out)
        found = Checkpoint.load(path, self._identity())
        try:
            self.network.load_state_dict(found.network)
            self.optimiser.load_state_dict(found.optimiser)
            state = found.state
            self.edits, self.steps, self.skipped = state["edits"], state["steps"], state["skipped"]
            self.best_at, self._validated_at = state["best_at"], state["validated_at"]
            self.first = Validation(**state["first"]) if state["first"] else None
            self.best = Validation(**state["best"]) if state["best"] else None
        except (RuntimeError, *MALFORMED) as error:
            raise UsageError(
                f"the checkpoint is damaged: {error!r}",
                where=str(path),
                fix="leave --resume out to start anew",
            ) from None

    def save_checkpoint(self) -> None:
        """Write everything that `resume` needs."""
        state = {
            "edits": self.edits,
            "steps": self.steps,
            "skipped": self.skipped,
            "best_at": self.best_at,
            "validated_at": self._validated_at,
            "first": asdict(self.first) if self.first else None,
            "best": asdict(self.best) if self.best else None,
        }
        network, optimiser = self.network.state_dict(), self.optimiser.state_dict()
        Checkpoint(self._identity(), network, optimiser, state).save(checkpoint_path(self._out))
        self._saved = time.monotonic()

    def _step(self) -> None:
        """One step of Adam."""
        count = min(self.edits_per_step, self._options.max_iters - self.edits)
        examples = [self._example(self.edits + place) for place in range(count)]
        self.optimiser.zero_grad()
        skipped, buffers = self.skipped, {name: each.clone() for name, each in self.network.named_buffers()}
        try:
            done = self.learn(examples)
        except BaseException:
            # A step that is interrupted (Ctrl-C) is made anew later: moments and counts must not keep a part of it.
            self.skipped = skipped
            self.network.load_state_dict(buffers, strict=False)
            raise
        with _uninterrupted():
            self.edits += count
            if done:
                self._adam(sum(len(losses.edit) for losses in done))
        if done and self._display is not None:
            means = self._means(done)
            self._display.step(self.edits, means.total, means.success)

    def _adam(self, learnt: int) -> None:
        """Give Adam the gradients of so many edits; they are skipped where the sum is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.grad_clip)
        if bool(norm.isfinite()):
            self.optimiser.step()
            self.steps += 1
        else:
            self.skipped += learnt

    def _example(self, number: int) -> Example:
        """Edit ``number`` of the run: every fact once an epoch, each epoch in an order of its own."""
        facts, seed = self._training.facts, self._options.seed
        epoch, place = divmod(number, len(facts))
        if self._order[0] != epoch:
            order = list(range(len(facts)))
            random.Random(f"{seed}/{epoch}").shuffle(order)
            self._order = (epoch, order)
        fact: TrainingFact = facts[self._order[1][place]]
        return self._training.example(fact, random.Random(f"{seed}/example/{number}"))

    def _batches(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples that go through the model together: two rows of each at a time."""
        longest = [max(len(row.ids) for row in (each.edit, each.rephrase, each.locality)) for each in examples]
        parts = buckets(longest, max_tokens=max(self._max_tokens // 2, 1), max_waste=1)
        return [[examples[index] for index in part] for part in parts]

    def _validate_first(self) -> Validation:
        """Of the network as it starts."""
        found = self._validate(self.untrained())
        if self._display is not None:
            self._display.validated(0, found, False)
        return found

    def _validate_and_keep(self) -> None:
        found = self._validate(self.network)
        self._validated_at = self.edits
        better = found.better_than(self.best, self._options.early_stop_key)
        if better:
            self.best, self.best_at = found, self.edits
            save_weights(self._out, self.kind, self.network, self._header())
        self.save_checkpoint()
        if self._display is not None:
            self._display.validated(self.edits, found, better)

    @torch.no_grad()
    def _validate(self, network: N) -> Validation:
        maker = self._validation
        facts = list(maker.facts)
        random.Random("validation").shuffle(facts)
        facts = facts[: self._options.val_steps]
        examples = [maker.example(fact, random.Random(f"validation/{i}")) for i, fact in enumerate(facts)]
        return self._means(self.judge(network, examples))

    def _means(self, found: Sequence[Losses]) -> Validation:
        edit = torch.cat([losses.edit.detach() for losses in found])
        locality = torch.cat([losses.locality.detach() for losses in found])
        success = torch.cat([losses.success for losses in found]).double()
        total = torch.cat([self.total(losses).detach() for losses in found])
        return Validation(float(total.mean()), float(edit.mean()), float(locality.mean()), float(success.mean()))

    def _identity(self) -> dict[str, Any]:
        """What has to be the same for a checkpoint to go on; the length of the training may change."""
        options = self._options.model_dump(mode="json", exclude={"max_iters", "early_stop_patience", "source"})
        return {"model": self._fingerprint, "data": self._data.record()["sources"], **options}

    def _header(self) -> WeightsHeader:
        assert self.best is not None
        return WeightsHeader(
            model=self._model,
            fingerprint=self._fingerprint,
            dtype=self._forward.host.precision,
            layers=tuple(self._options.layers),
            matrices=self._matrices,
            rank=self._options.rank,
            data=self._data.record(),
            options=self._options.model_dump(mode="json"),
            versions={name: version(name) for name in ("pytest-editpitfalls", "torch", "transformers", "safetensors")},
            progress={"edits": self.edits, "steps": self.steps, "validation": asdict(self.best)},
        )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block has ended."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # it does not come here
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda _, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(signal.SIGINT, came[-1])
