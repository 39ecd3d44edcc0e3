"""One model, ready to be edited and scored: the engine's interface to the plugin."""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
import transformers
from numpy.typing import NDArray

from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError
from pytest_editpitfalls.program import CaseScores, HeldAnswer, HeldQuestion, Program, SuitePrograms

from . import models
from .batch_size.automatic import BatchSize, Limits
from .batch_size.memory_model import Shape, tokens_that_fit
from .chains.checkpoints import ChainFiles, is_long
from .edited_checkpoint.editor import EditedCheckpoint
from .editing.declaration import EditorDeclaration
from .editing.interface import Editor, EditorResources, SaysWhatItWrites, WritesModel
from .editors.editor_registry import EDITORS
from .editors.experts import check_experts
from .editors.resolution import resolve_hyperparameters
from .families import family_for
from .forward import Forward
from .held import HeldAnswers, object_vectors
from .hyperparameters.fields import Hyperparameters
from .hyperparameters.module_names import module_name_notes
from .isolation import is_out_of_memory
from .model_adapter import ModelAdapter
from .moments import SecondMoments
from .overlay import Overlay, prefix_of
from .products import float32_products
from .runner import edited_model_of, run_batch
from .scoring import Scorer
from .settings import EngineSettings, ProgressCallback, chunk_size, silent
from .shared_edits import SharedEdits
from .written import WrittenWeights, watch_writing

CPU_TOKENS, GPU_TOKENS = 768, 16384
"""The most padded tokens per forward pass: on a CPU enough to fill the matrix units, on a GPU to hide launches."""

CPU_SCORING = 4
"""Scoring has no gradients, so its passes take that many times the tokens on a CPU.

Measured with 16 reverse cases, 0.81 s a case at 1, 0.71 at 2, 0.67 at 4. Long passes waste less at their ends."""


class EngineSession:
    """A loaded model with its editors, statistics and scorer. Made by `open`.

    Attributes:
        host: the base model; its weights are never written.
        fingerprint: SHA-256 of config, tokenizer and weights.
        dtype: what its products are computed in ("float32", "tf32").
        seconds: time spent outside of batches, by stage ("load", "prepare NAME").
    """

    def __init__(
        self,
        settings: EngineSettings,
        host: ModelAdapter,
        source: models.ModelSource,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self._announce = announce
        self.host = host
        self.source = source
        self.fingerprint = models.fingerprint(host.model, host.tokenizer, source)
        self.seconds: dict[str, float] = {}
        self.forward = Forward(host)
        self.dtype = "tf32" if settings.dtype == "tf32" else str(host.dtype).removeprefix("torch.")
        tokens = CPU_TOKENS if host.device.type == "cpu" else GPU_TOKENS
        moments = SecondMoments(
            self.forward,
            fingerprint=f"{self.fingerprint}-torch.{self.dtype}",
            cache=source.cache / "second-moments",
            max_tokens=tokens_that_fit(self._free_memory(), _shape(host).forward_bytes, 4 * tokens),
        )
        self._most_tokens = tokens
        self._resources = EditorResources(host, self.forward, moments, settings, tokens)
        self._in_stages = "{}"  # how an editor is called in `seconds`
        self._editors: dict[str, Editor] = {}
        self._own_resources: dict[str, EditorResources] = {}
        self._shared: dict[str, SharedEdits] = {}
        self._sizes: dict[str, BatchSize] = {}
        self._held = HeldAnswers(self.forward, host.encoder, max_tokens=self._scoring_tokens(tokens))
        self._edited: list[str] = []  # the case whose edited model is open, here or under another seed

    @classmethod
    def open(cls, settings: EngineSettings, announce: Callable[[str], None] = lambda _: None) -> EngineSession:
        """Load the model of ``settings``, after saying how much memory it takes.

        Raises:
            UsageError: unknown or unsuitable model, no such device, not enough memory, no network, NaN in a weight.
        """
        started = time.perf_counter()
        source = models.resolve(settings.model)
        place = models.resolve_device(settings.device)  # before anything is fetched
        if settings.dtype is not None:
            models.resolve_dtype(settings.dtype, place)
        models.prepare(source, announce)
        announce(str(models.memory_estimate(source, settings.dtype, settings.device)))
        model, tokenizer = models.load(source, settings.device, settings.dtype, announce)
        models.check_finite(model, source)
        family = family_for(model.config)
        if family.origin:
            announce(f"model type '{model.config.model_type}': the declaration of {family.origin} is used")
        session = cls(settings, ModelAdapter.of(model, tokenizer, family), source, announce)
        session.seconds["load"] = time.perf_counter() - started
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
        other._editors, other._own_resources, other._shared = {}, {}, {}
        other._in_stages = f"{{}}, seed {seed}"
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
        return self._batch_size(editor).cases

    def run(
        self,
        editor: str,
        programs: Sequence[Program],
        progress: ProgressCallback | None = None,
        suite: SuitePrograms | None = None,
        identity: Callable[[], str | None] | None = None,
    ) -> list[CaseScores]:
        """Edit and score; one answer per program, in order; a broken case is an answer with its error.

        `batch_size.automatic` decides how many run together; `describe` reports the number. Answers depend on it by
        rounding only.

        Args:
            programs: what to run.
            progress: called with how far the batch is.
            suite: all cases of the suite that the batch is from.
            identity: asked where a chain is long; gives what its edited models depend on that the engine does not
                know (the source of the code, the suite). None, or where it gives None: no chain is kept in files.

        Raises:
            UsageError: unknown editor, bad hyper-parameters, second moments that cannot be computed, no memory for
                what all cases share.
            CaseError: an edited model is open: its edits would be in every answer.
        """
        self._check_unedited()
        watch = progress or silent
        chosen = self._prepared(editor, watch)
        shared = self._shared.setdefault(editor, SharedEdits())

        def work(part: Sequence[Program], tokens: int, report: ProgressCallback) -> list[CaseScores]:
            self._own_resources[editor].max_tokens = tokens
            scorer = Scorer(self.forward, max_tokens=self._scoring_tokens(tokens))
            self._held.max_tokens = scorer.max_tokens
            with self._products():
                files = self._chain_files(editor, part, identity)
                return run_batch(chosen, scorer, self.host.encoder, part, report, suite, self._held, shared, files)

        size = self._batch_size(editor)
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
        self._prepared(editor, progress)

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
        chosen = self._prepared(editor, silent)
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
        chosen = self._prepared(editor, silent)
        declared = chosen.weights() if isinstance(chosen, SaysWhatItWrites) else None
        with self._products():
            return watch_writing(self.model, declared, lambda: edited_model_of(chosen, program, state, suite))

    def describe(self, editor: str) -> dict[str, Any]:
        """Everything that the numbers depend on, as plain JSON types."""
        chosen = self._editor(editor)
        parameters = sum(p.numel() for p in self.host.model.parameters())
        family = self.host.family
        declaration = asdict(replace(family, origin="")) if family.origin else None
        return {
            "editor": chosen.describe(),
            "model": {
                "name": self.settings.model,
                "label": self.source.short_name,
                "fingerprint": self.fingerprint,
                "architecture": type(self.host.model).__name__,
                "family": family.name,
                **({"declared_by": family.origin, "declaration": declaration} if family.origin else {}),
                "layers": self.host.n_layers,
                "parameters": parameters,
                "dtype": self.dtype,
                "device": self._device_name(),
            },
            "seed": self.settings.seed,
            "versions": {
                "torch": str(torch.__version__),
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
            "threads": torch.get_num_threads(),
            "batch": self._batch_size(editor).record,
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
        }

    def _chain_files(
        self, editor: str, programs: Sequence[Program], identity: Callable[[], str | None] | None
    ) -> ChainFiles | None:
        """Where long chains of an editor are kept while they run; None where nobody can tell one from another."""
        if identity is None or not any(is_long(program) for program in programs) or (known := identity()) is None:
            return None
        depends_on = [known, self.fingerprint, self.dtype, self.host.device.type, self.settings.seed]
        depends_on += [str(torch.__version__), transformers.__version__, editor, self._editors[editor].describe()]
        return ChainFiles(
            self.source.cache / "chains",
            json.dumps(depends_on, sort_keys=True, default=str),
            self.host.device,
            lambda text: self._announce(f"{editor}: {text}"),
        )

    def _scoring_tokens(self, tokens: int) -> int:
        return tokens * (CPU_SCORING if self.host.device.type == "cpu" else 1)

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

    def _device_name(self) -> str:
        device = self.host.device
        return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

    def _editor(self, name: str) -> Editor:
        if name not in self._editors:
            declaration = EDITORS.get(name, where="--pitfalls-editor")
            values = resolve_hyperparameters(
                name,
                declaration.hyperparameter_class(),
                self.settings.model,
                self.host.n_layers,
                self.settings.config_tables.get(name),
                self.settings.overrides.get(name),
                config_path=self.settings.config_path,
            )
            check_experts(name, values, self.host.family)
            for note in module_name_notes(values, self.host.family):
                self._announce(f"{name}: {note}")
            tokens = self._batch_size(name).choice.tokens
            self._own_resources[name] = replace(self._resources, max_tokens=tokens)
            self._editors[name] = self._made(name, declaration, values)
        return self._editors[name]

    def _made(self, name: str, declaration: EditorDeclaration, values: Hyperparameters) -> Editor:
        started = time.perf_counter()
        made = declaration.make(values, self._own_resources[name])
        if isinstance(made, EditedCheckpoint):
            self.seconds[f"load {name}"] = time.perf_counter() - started
            for remark in made.remarks:
                self._announce(f"{name}: {remark}")
        return made

    def _batch_size(self, name: str) -> BatchSize:
        """Made when it is first needed, so that it sees the memory that the model has left."""
        if name not in self._sizes:
            declaration, asked = EDITORS.get(name, where="--pitfalls-editor"), self.settings.batch_size
            fixed = None if asked is None else (asked, "as asked for")
            if declaration.form == "in place":
                fixed = (1, "there is one model object to edit in place")
            self._sizes[name] = BatchSize(
                Limits(
                    _shape(self.host),
                    self.host.device,
                    most_cases=chunk_size(asked, self.host.device.type == "cuda"),
                    most_tokens=self._most_tokens,
                    free=self._free_memory,
                    whole_matrices=declaration.whole_matrices,
                ),
                self.host.model.base_model,
                fixed=fixed,
                announce=lambda text: self._announce(f"{name}: {text}"),
            )
        return self._sizes[name]

    def _free_memory(self) -> int:
        """Bytes of the device that this process may count on, its share of them where others are there, too."""
        free = models.available_memory(self.host.device)
        if self.host.device.type == "cuda":  # what torch holds for further tensors is not free for other processes
            kept = torch.cuda.memory_reserved(self.host.device)
            kept -= torch.cuda.memory_allocated(self.host.device)
            return free // self.settings.processes + kept
        return free // self.settings.processes

    def _prepared(self, name: str, progress: ProgressCallback) -> Editor:
        """The editor with what all cases share; the time that takes is booked once, not on the first cases."""
        editor = self._editor(name)
        stage = f"prepare {self._in_stages.format(name)}"
        if stage not in self.seconds:
            started = time.perf_counter()
            try:
                with self._products():
                    editor.prepare(progress)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise UsageError(
                    f"memory ran out while preparing '{name}' ({str(error).splitlines()[0]})",
                    where=f"model '{self.settings.model}' on {self.host.device}",
                    fix="use a device with more memory, a smaller model, fewer workers, or --pitfalls-dtype=bfloat16",
                ) from error
            self.seconds[stage] = time.perf_counter() - started
        return editor


def _shape(host: ModelAdapter) -> Shape:
    d_model, d_k = host.widths
    vocabulary = int(host.model.get_output_embeddings().weight.shape[0])
    return Shape(host.n_layers, d_model, d_k, vocabulary, host.edit_dtype.itemsize)
