"""Random models of given shapes, ready to be edited: nothing is fetched, weights are made on the device.

The tokenizer is trained on the measured programs' own text, the context templates are cut from it, and the second
moment is the identity with a random part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import ModelSource
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Program


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
    """A random model with what ROME needs; made by `random_model`.

    Attributes:
        shape: its sizes.
        table: ROME's hyper-parameters where they differ from the preset's.
        directory: for files that go away with the model.
    """

    shape: Shape
    device: str
    model: Any
    tokenizer: Any
    table: dict[str, Any]
    directory: Path

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())

    def session(self, batch_size: int | None = None, *, tf32: bool = False) -> EngineSession:
        """A session on the model as it is now.

        Args:
            batch_size: None means the automatic one.
            tf32: whether it multiplies in TF32; the model's weights are float32 then.
        """
        settings = EngineSettings(
            self.shape.name,
            device=self.device,
            dtype="tf32" if tf32 else None,
            batch_size=batch_size,
            config_tables={"rome": self.table},
        )
        host = ModelAdapter.of(self.model, self.tokenizer, family_for(self.model.config))
        # A source of its own, so that nothing of a random model is remembered in the user's cache.
        source = ModelSource(self.shape.name, self.shape.name, "directory", self.directory, path=self.directory)
        return EngineSession(settings, host, source)


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
    host = ModelAdapter.of(model, tokenizer, family_for(config))
    table: dict[str, Any] = {"context_templates": context_templates(tokenizer, programs)}
    with tempfile.TemporaryDirectory() as directory:
        kind = EDITORS.get("rome", where="benchmarks").hyperparameter_class()
        values: Any = resolve_hyperparameters("rome", kind, shape.name, host.n_layers)
        if values.mom2_adjustment:  # Llama's published presets leave C out
            d_k = host.matrix_shape(values.layers[0])[1]
            table["mom2_npz"] = str(_random_moment(Path(directory), d_k))
        yield RandomModel(shape, device, model, tokenizer, table, Path(directory))


def _random_moment(directory: Path, size: int) -> Path:
    """The identity and a random positive semi-definite part, in the published files' format."""
    random = np.random.default_rng(0).standard_normal((size, 64), dtype=np.float32)
    matrix = random @ random.T / 64
    matrix[np.diag_indices(size)] += 1
    path = directory / "moment.npz"
    arrays: dict[str, Any] = {"mom2.mom2": matrix, "mom2.count": np.array(1)}
    np.savez(path, **arrays)
    return path


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


def context_templates(tokenizer: Any, programs: Sequence[Program]) -> list[str]:
    """The bare prompt, ten texts of five tokens and ten of ten, as ROME samples them; here cut from the prompts."""
    texts = list(dict.fromkeys(_texts(programs)))
    found = ["{}"]
    for length in (5, 10):
        long_enough = [ids for ids in tokenizer(texts)["input_ids"] if len(ids) >= length]
        cut = dict.fromkeys(tokenizer.decode(ids[:length]) for ids in long_enough)
        found += [f"{text}. {{}}" for text in list(cut)[:10]]
    return found


def _texts(programs: Sequence[Program]) -> list[str]:
    return [prompt for program in programs for probe in program.probes for prompt in probe.inputs]
