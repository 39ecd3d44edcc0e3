"""Random models of given shapes, ready to be edited: nothing is fetched, weights are made on the device.

The tokenizer is trained on the measured programs' own text, the context templates are cut from it, and second moments
are those of that text, with a ridge: it has fewer tokens than they have rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import ModelSource
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Program

TEMPLATES = {"rome": ((5, 10), (10, 10)), "memit": ((10, 5),)}
"""Pairs (length in tokens, number) of context templates, as editors sample them; the bare prompt is always added."""

RIDGE, CORPUS_LINES = 0.1, 1000
"""Of second moments: a multiple of the mean eigenvalue, and how many texts they are of. Only their shape counts."""


@dataclass(frozen=True)
class Shape:
    """A model by its sizes.

    Attributes:
        name: of the model that has them; its preset is used where there is one.
        model_type: of transformers.
        sizes: arguments of its config.
        vocabulary: what the tokenizer may have at most, besides the config's own vocabulary size.
    """

    name: str
    model_type: str
    sizes: Mapping[str, Any]
    vocabulary: int = 8000


@dataclass(frozen=True)
class RandomModel:
    """A random model with what ROME and MEMIT need; made by `random_model`.

    Attributes:
        shape: its sizes.
        tables: hyper-parameters where they differ from the presets', by editor.
        directory: for files that go away with the model.
    """

    shape: Shape
    device: str
    model: Any
    tokenizer: Any
    tables: dict[str, dict[str, Any]]
    directory: Path

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())

    def session(self, batch_size: int | None = None, *, dtype: str | None = None) -> EngineSession:
        """A session on the model as it is now.

        Args:
            batch_size: None means the automatic one.
            dtype: "tf32" where it shall multiply in TF32; None takes the weights as they are.
        """
        settings = EngineSettings(
            self.shape.name, device=self.device, dtype=dtype, batch_size=batch_size, config_tables=self.tables
        )
        host = ModelAdapter.of(self.model, self.tokenizer, family_for(self.model.config))
        # A source of its own, so that nothing of a random model is remembered in the user's cache. To hash gigabytes of
        # random numbers would take longer than most measurements.
        source = ModelSource(self.shape.name, self.shape.name, "directory", self.directory, path=self.directory)
        return EngineSession(settings, host, source, fingerprint=f"random-{self.shape.name}-{self.model.dtype}")


@contextmanager
def random_model(shape: Shape, device: str, programs: Sequence[Program]) -> Iterator[RandomModel]:
    """A model of that shape in float32; its files are gone when the context ends.

    Args:
        shape: its sizes.
        device: where its weights are made.
        programs: whose text the tokenizer is trained on.
    """
    tokenizer = trained_tokenizer(programs, shape.vocabulary)
    arguments = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": None, **shape.sizes}
    config = AutoConfig.for_model(shape.model_type, **arguments)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "corpus.txt"
        texts = list(dict.fromkeys(_texts(programs)))[:CORPUS_LINES]
        corpus.write_text("\n".join(texts), encoding="utf-8")
        tables: dict[str, dict[str, Any]] = {
            editor: {
                "context_templates": context_templates(tokenizer, programs, lengths),
                "mom2_corpus": str(corpus),
                "mom2_ridge": RIDGE,
            }
            for editor, lengths in TEMPLATES.items()
        }
        yield RandomModel(shape, device, model, tokenizer, tables, Path(directory))


def trained_tokenizer(programs: Sequence[Program], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of the programs' own text: rows as long as with a published one, without fetching any."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(programs), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )


def context_templates(
    tokenizer: Any, programs: Sequence[Program], lengths: Sequence[tuple[int, int]] = TEMPLATES["rome"]
) -> list[str]:
    """The bare prompt and texts of so many tokens each, which editors sample; here cut from the prompts.

    Args:
        lengths: pairs (tokens, number of texts).
    """
    texts = list(dict.fromkeys(_texts(programs)))
    found = ["{}"]
    for length, count in lengths:
        long_enough = [ids for ids in tokenizer(texts)["input_ids"] if len(ids) >= length]
        cut = dict.fromkeys(tokenizer.decode(ids[:length]) for ids in long_enough)
        found += [f"{text}. {{}}" for text in list(cut)[:count]]
    return found


def _texts(programs: Sequence[Program]) -> list[str]:
    return [prompt for program in programs for probe in program.probes for prompt in probe.inputs]
