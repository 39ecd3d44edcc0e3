"""One model, ready to be edited and scored: the engine's interface to the plugin."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
import transformers
from numpy.typing import NDArray

from pytest_editpitfalls.errors import CaseError, UnscorableCase
from pytest_editpitfalls.program import CaseScores, HeldAnswer, HeldQuestion, Program, SuitePrograms, SuitesOf

from . import models, threads
from .batch_size.memory_model import tokens_that_fit
from .batches_of_model import BatchSizes, shape_of
from .chains.checkpoints import ChainFiles, is_long
from .chains.run import Run
from .description import described_model, versions
from .editing.interface import EditorResources, KeepsState, SaysWhatItWrites, WritesModel
from .editors.editor_registry import EDITORS
from .editors_of_model import EditorsOfModel
from .families import family_for
from .forward import Forward
from .held import HeldAnswers, HeldMemory, object_vectors
from .model_adapter import ModelAdapter
from .moments import SecondMoments
from .overlay import Overlay, prefix_of
from .products import float32_products
from .runner import edited_model_of, run_batch
from .scoring import Scorer
from .settings import FETCH, SHOWN, EngineSettings, ProgressCallback, silent
from .shared_edits import SharedEdits
from .written import WrittenWeights, watch_writing


class EngineSession:
    """A loaded model with its editors, statistics and scorer. Made by `open`.

    Args:
        fingerprint: of the model, where it is known: to read all weights of a large one takes long.

    Attributes:
        host: the base model; its weights are never written.
        fingerprint: SHA-256 of config, tokenizer and weights.
        dtype: what its products are computed in ("float32", "tf32", "bf16-weights").
        editors: makes and prepares them.
        seconds: time spent outside of batches, by stage ("fetch and convert", "load", "prepare NAME").
    """

    def __init__(
        self,
        settings: EngineSettings,
        host: ModelAdapter,
        source: models.ModelSource,
        announce: Callable[[str], None] = lambda _: None,
        *,
        fingerprint: str | None = None,
    ) -> None:
        self.settings = settings
        self._announce = announce
        self.host = host
        self.source = source
        self.fingerprint = fingerprint or models.fingerprint(host.model, host.tokenizer, source)
        self.seconds: dict[str, float] = {}
        self.forward = Forward(host)
        self.dtype = _dtype_name(settings, host)
        self._sizes = BatchSizes(host, settings, announce)
        host.pack(self._sizes.free_memory())
        tokens = self._sizes.most_tokens
        known_by = f"{self.fingerprint}-torch.{self.dtype}"
        moments = SecondMoments(
            self.forward,
            fingerprint=known_by,
            cache=source.cache / "second-moments",
            max_tokens=tokens_that_fit(self._sizes.free_memory(), shape_of(host).forward_bytes, 4 * tokens),
        )
        self._resources = EditorResources(host, self.forward, moments, settings, tokens)
        self.editors = self._made_editors()
        self._shared: dict[str, SharedEdits] = {}
        self._held = HeldAnswers(
            self.forward,
            host.encoder,
            max_tokens=self._sizes.scoring_tokens(tokens),
            memory=HeldMemory(source.cache / "held" / f"{self.fingerprint[:32]}.jsonl", known_by),
        )
        self._said: set[str] = set()  # what is announced once
        self._edited: list[str] = []  # the case whose edited model is open, here or under another seed

    @classmethod
    def open(cls, settings: EngineSettings, announce: Callable[[str], None] = lambda _: None) -> EngineSession:
        """Load the model of ``settings``, after saying how much memory it takes.

        Raises:
            UsageError: unknown or unsuitable model, no such device, not enough memory, no network, NaN in a weight.
        """
        started = time.perf_counter()
        threads.keep_to_cores()
        source = models.resolve(settings.model)
        place = models.resolve_device(settings.device)  # before anything is fetched
        if settings.dtype is not None:
            models.resolve_dtype(settings.dtype, place)
        prepared = time.perf_counter()
        models.prepare(source, announce)
        brought = time.perf_counter() - prepared
        announce(str(models.memory_estimate(source, settings.dtype, settings.device)))
        model, tokenizer = models.load(source, settings.device, settings.dtype, announce)
        models.check_finite(model, source)
        family = family_for(model.config)
        if family.origin:
            announce(f"model type '{model.config.model_type}': the declaration of {family.origin} is used")
        session = cls(settings, ModelAdapter.of(model, tokenizer, family), source, announce)
        if brought >= SHOWN:
            session.seconds[FETCH] = brought
        session.seconds["load"] = time.perf_counter() - started - session.seconds.get(FETCH, 0.0)
        return session

    def under_seed(self, seed: int) -> EngineSession:
        """A session on the same model whose editors draw under another seed.

        The model is there once, and what is known of its memory is shared; editors and second moments are not. Both
        sessions may be used in turn.
        """
        other = copy.copy(self)
        other.settings = replace(self.settings, seed=seed)
        moments = self._resources.second_moments.emptied()
        other._resources = replace(self._resources, settings=other.settings, second_moments=moments)
        other.editors, other._shared = other._made_editors(f"{{}}, seed {seed}"), {}
        return other

    @property
    def model(self) -> Any:
        """The Hugging Face model, as the base model."""
        return self.host.model

    @property
    def tokenizer(self) -> Any:
        return self.host.tokenizer

    def batch_size(self, editor: str) -> int:
        """Cases that are worth asking for at a time: never more than `chunk_size` of the settings and the device.

        A run can therefore be cut into chunks of that size before a model is loaded, and a batch lies within one chunk.
        `run` cuts further where memory is short. The number changes when the first batch has been measured, and when
        memory runs out.
        """
        return self.editors.batch_size(editor).cases

    def run(
        self,
        editor: str,
        programs: Sequence[Program],
        progress: ProgressCallback | None = None,
        suite: SuitesOf = None,
        identity: Callable[[], str | None] | None = None,
    ) -> list[CaseScores]:
        """Edit and score; one answer per program, in order; a broken case is an answer with its error.

        `batch_size.automatic` decides how many run together; `describe` reports the number. Answers depend on it by
        rounding only.

        Args:
            programs: what to run.
            progress: called with how far the batch is.
            suite: all cases of the suite that the batch is from, or of that of each program.
            identity: asked where a chain is long; gives what its edited models depend on that the engine does not
                know (the source of the code, the suite). None, or where it gives None: no chain is kept in files.

        Raises:
            UsageError: unknown editor, bad hyper-parameters, second moments that cannot be computed, no memory for
                what all cases share.
            CaseError: an edited model is open: its edits would be in every answer.
        """
        self._check_unedited()
        watch = progress or silent
        chosen = self.editors.prepared(editor, watch)
        shared = self._shared.setdefault(editor, SharedEdits())
        suites = {id(run.program): run.suite for run in Run.each(programs, suite)}

        def work(part: Sequence[Program], tokens: int, report: ProgressCallback) -> list[CaseScores]:
            self.editors.set_tokens(editor, tokens)
            scorer = Scorer(self.forward, max_tokens=self._sizes.scoring_tokens(tokens))
            self._held.max_tokens = scorer.max_tokens
            self._held.is_trusted &= EDITORS.is_ours(editor)
            with self._products():
                files = self._chain_files(editor, part, identity)
                own = [suites[id(program)] for program in part]
                return run_batch(chosen, scorer, self.host.encoder, part, report, own, self._held, shared, files)

        size = self.editors.batch_size(editor)
        if isinstance(chosen, WritesModel):  # run one by one in any case
            return work(programs, size.choice.tokens, watch)
        return size.run(programs, work, watch)

    def held(
        self,
        questions: Sequence[HeldQuestion],
        progress: ProgressCallback = silent,
        *,
        strongest: bool = False,
        each_score: bool = True,
    ) -> list[HeldAnswer]:
        """What the base model says to held questions, over all of their rivals; one answer each, in order.

        Paraphrases are asked where the rewrite prompt is won by all scores that the question requires. A question
        whose object the tokenizer cannot write has an answer that says so (``holds`` is None).

        Args:
            questions: they may share tuples of candidates, which are then read once.
            progress: called with how many questions are done.
            strongest: whether the strongest rivals are looked for, too. Without it a search ends when it is known
                whether the object wins, and the rival that is named is the likeliest one that was met until then.
                With it, minutes go by where a relation has thousands of long labels.
            each_score: whether it is found out for each score if the object wins by it. Without it a search ends
                with the first score that is lost, which takes several times fewer passes; `HeldAnswer.wins` then has
                the lost score alone.

        Raises:
            CaseError: an edited model is open.
        """
        self._check_unedited()
        with self._products():
            return self._held.answers(questions, progress, strongest=strongest, each_score=each_score)

    def object_vectors(
        self, asked: Sequence[tuple[str, str]], depth_fraction: float, joiner: str = " "
    ) -> list[NDArray[Any] | None]:
        """The base model's mean hidden state over an object's tokens behind a prompt, for each (prompt, object).

        Args:
            asked: complete prompts and labels.
            depth_fraction: after which block, as a fraction of the depth: 0.5 is the middle one, 1 the last.
            joiner: what stands between prompt and object.

        Returns:
            (hidden,) float32 vectors, in order; None where the tokenizer cannot write the object.

        Raises:
            CaseError: an edited model is open.
            ValueError: ``depth_fraction`` is not in (0, 1].
        """
        self._check_unedited()
        with self._products():
            return object_vectors(self.forward, asked, depth_fraction, joiner, max_tokens=self._held.max_tokens)

    def token_counts(self, labels: Sequence[str], joiner: str = " ") -> list[int | None]:
        """Return how many tokens labels have behind a prompt; None where the tokenizer cannot write one."""

        def count(label: str) -> int | None:
            try:
                return len(self.host.encoder.target(label, joiner))
            except UnscorableCase:
                return None

        return [count(label) for label in labels]

    def prepare(self, editor: str, progress: ProgressCallback = silent) -> None:
        """Compute what all cases of an editor share, as `run` does with its first batch; raises as `run`."""
        self.editors.prepared(editor, progress)

    @contextmanager
    def edited(self, editor: str, program: Program, state: str, suite: SuitePrograms | None = None) -> Iterator[Any]:
        """The Hugging Face model, answering as the edited one of ``state`` while the context is open.

        Works with any call, ``generate`` included; the weights stay the base model's. One at a time: there is one
        model object, and edits of two would add up in it.

        Raises:
            CaseError: the edit cannot be computed, an edited model is open, or the edit is text before the prompt
                (IKE, ICE), which no model object can carry.
            UsageError: the program has no such state; or as `run`.
        """
        self._check_unedited()
        chosen = self.editors.prepared(editor, silent)
        with self._products():
            model = edited_model_of(chosen, program, state, suite)
        if prefix_of(model):
            raise CaseError(
                f"'{editor}' edits by text before the prompt (as ike and ice do), which a model object cannot carry",
                where=program.case_id,
                fix="use an editor that changes the model, or the case's scores (pitfall_outcome): "
                "they are taken with that text before every prompt",
            )
        self._edited.append(program.case_id)
        try:
            with self._products(), Overlay(self.host, [model]).serving(0):
                yield self.host.model
        finally:
            self._edited.clear()

    def written(self, editor: str, program: Program, state: str, suite: SuitePrograms | None = None) -> WrittenWeights:
        """Edit as ``state`` has it, and see what that changes; raises as `edited`."""
        self._check_unedited()
        chosen = self.editors.prepared(editor, silent)
        declared = chosen.weights() if isinstance(chosen, SaysWhatItWrites) else None
        with self._products():
            return watch_writing(self.model, declared, lambda: edited_model_of(chosen, program, state, suite))

    def describe(self, editor: str) -> dict[str, Any]:
        """Everything that the numbers depend on, as plain JSON types."""
        return {
            "editor": self.editors.get(editor).describe(),
            "model": described_model(
                self.host,
                name=self.settings.model,
                label=self.source.short_name,
                fingerprint=self.fingerprint,
                dtype=self.dtype,
            ),
            "seed": self.settings.seed,
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "batch": self.editors.batch_size(editor).record,
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
        }

    def _chain_files(
        self, editor: str, programs: Sequence[Program], identity: Callable[[], str | None] | None
    ) -> ChainFiles | None:
        """Where long chains of an editor are kept while they run; None where they cannot be, which is said."""
        if identity is None or not any(is_long(program) for program in programs):
            return None
        made, known = self.editors.get(editor), identity()
        if isinstance(made, WritesModel):
            why = "no file can hold all that an editor that writes to the model may leave there"
        elif isinstance(made, KeepsState):
            why = "no file can hold what the editor remembers between two edits"
        else:
            why = "the editor's source cannot be read, so that no file is known to be of it" if known is None else ""
        if why:
            self._say_once(f"{editor}: a chain that is stopped starts anew: {why}")
            return None
        depends_on: list[Any] = [known, self.fingerprint, self.dtype, self.host.device.type, self.settings.seed]
        depends_on += [str(torch.__version__), transformers.__version__, editor, self.editors.get(editor).describe()]
        return ChainFiles(
            self.source.cache / "chains",
            json.dumps(depends_on, sort_keys=True, default=str),
            self.host.device,
            lambda text: self._announce(f"{editor}: {text}"),
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._announce(text)

    def _made_editors(self, in_stages: str = "{}") -> EditorsOfModel:
        is_tf32 = self.dtype == "tf32"
        return EditorsOfModel(
            self._resources, self._sizes, self.seconds, self._announce, in_stages=in_stages, is_tf32=is_tf32
        )

    def _check_unedited(self) -> None:
        if self._edited:
            raise CaseError(
                "an edited model is still open, and its edits would mix with the next ones",
                where=self._edited[0],
                fix="leave the 'with edited_model(...)' block first, and open one edited model at a time",
            )

    def _products(self) -> AbstractContextManager[None]:
        """What the numbers depend on is the dtype that was asked for, not what else the process allows."""
        return float32_products(tf32=self.dtype == "tf32")


def _dtype_name(settings: EngineSettings, host: ModelAdapter) -> str:
    """The dtype as it was typed where torch has none of that name, otherwise that of the weights."""
    return settings.dtype if settings.dtype in ("tf32", *models.QUANTISED) else host.precision
