"""A loaded model with the places that editors and the overlay need, found through its family's declaration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.errors import UsageError

from .bf16_weights import HALF, has_bf16_weights
from .declared_paths import check_paths, found_at
from .families import Family, experts_width
from .matrices import matrix_shape
from .prepacked import Prepacked
from .settings import BF16_WEIGHTS
from .tokens import Encoder

ForwardHook = Callable[[Any, tuple[Any, ...], Tensor], Tensor]
"""A forward hook of torch: (module, positional arguments, output) to the output that replaces it."""


@dataclass(frozen=True)
class ModelAdapter:
    """The base model, which hosts all edited ones. Its weights are frozen here and are never written by the engine.

    Attributes:
        model: a Hugging Face causal language model in evaluation mode.
        family: where the architecture keeps its layers.
        encoder: text to token ids, targets and subject positions.
        prepacked: copies of its matrices that passes on a CPU multiply through, none before `pack`.
    """

    model: Any
    tokenizer: Any
    family: Family
    encoder: Encoder
    prepacked: Prepacked = field(default_factory=Prepacked, repr=False, compare=False)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, family: Family) -> ModelAdapter:
        """Freeze ``model`` and wrap it; raises `UsageError` where the family's paths do not fit it (`check_paths`)."""
        check_paths(model, family)
        if family.mixture and next(iter(model.parameters())).dtype == torch.float64:
            model.set_experts_implementation("eager")  # torch multiplies groups of rows in single precision at most
        model.eval()
        model.requires_grad_(False)
        return cls(model, tokenizer, family, Encoder(tokenizer, model.get_input_embeddings().weight.shape[0]))

    @property
    def device(self) -> torch.device:
        """Where token ids go in. Of a model on several devices also where all that is not its own weights lies."""
        return torch.device(self._weight.device)

    @cached_property
    def devices(self) -> tuple[torch.device, ...]:
        """Every device that has some of the weights, that of `device` first."""
        return tuple(dict.fromkeys([self.device, *(torch.device(each.device) for each in self.model.parameters())]))

    @property
    def is_spread(self) -> bool:
        """Whether its blocks lie on several devices."""
        return len(self.devices) > 1

    def here(self, tensor: Tensor) -> Tensor:
        """What a block has taken or returned, on `device`."""
        return tensor.to(self.device) if self.is_spread else tensor

    def hook(self, hook: ForwardHook) -> ForwardHook:
        """A forward hook for any module, which sees and returns tensors on `device` wherever the module lies."""
        if not self.is_spread:
            return hook

        def moved(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            here = tuple(self.here(each) if isinstance(each, Tensor) else each for each in args)
            return hook(module, here, self.here(output)).to(output.device)

        return moved

    @property
    def dtype(self) -> torch.dtype:
        """What its matrices are kept in."""
        return HALF if has_bf16_weights(self.model) else self._weight.dtype

    @property
    def precision(self) -> str:
        """The name that ``--pitfalls-dtype`` has for how its weights are kept."""
        return BF16_WEIGHTS if has_bf16_weights(self.model) else str(self.dtype).removeprefix("torch.")

    @property
    def edit_dtype(self) -> torch.dtype:
        """float32, or float64 for a float64 model: editing mathematics is never done in half precision."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.model.get_input_embeddings().weight  # never quantised
        return weight

    @property
    def blocks(self) -> nn.ModuleList:
        """The model's own list of transformer blocks."""
        return self.module(self.family.blocks)  # type: ignore[return-value]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def config(self) -> Any:
        """The language model's config: of a model that also takes images, the part about its text."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def head(self) -> nn.Module:
        """The model's own head, which makes logits."""
        return self.model.get_output_embeddings()  # type: ignore[no-any-return]

    @property
    def vocabulary(self) -> int:
        """How many logits the head makes for a token."""
        return int(self.head.weight.shape[0])  # type: ignore[index]

    def pack(self, free: int) -> None:
        """Make copies of the matrices for faster products (`Prepacked`), where ``free`` bytes have room for them."""
        self.prepacked.pack([*self.blocks, self.head], free)

    def down_projection_path(self, layer: int) -> str:
        """Full name of the MLP's down-projection in ``layer``: the matrix that the locate-then-edit family writes.

        Raises:
            UsageError: the MLP is a mixture of experts, each of which has its own.
        """
        if self.family.mixture:
            raise UsageError(
                "the MLP is a mixture of experts, each of which has a down-projection of its own",
                where=f"family '{self.family.name}'",
                fix="edit another module, such as the attention's output or the whole MLP",
            )
        return f"{self.family.blocks}.{layer}.{self.family.down_projection}"

    def down_projection(self, layer: int) -> nn.Module:
        return self.module(self.down_projection_path(layer))

    def matrix_shape(self, layer: int) -> tuple[int, int]:
        """(d_o, d_k) of the down-projection's matrix, whichever way round the module stores it."""
        return matrix_shape(self.down_projection(layer))

    @property
    def widths(self) -> tuple[int, int]:
        """(d_model, d_k): how wide the hidden states are, and what the MLP makes of a token, in all its experts."""
        if not self.family.mixture:
            return self.matrix_shape(0)
        d_model, _ = matrix_shape(self.module(f"{self.family.blocks}.0.{self.family.attention_output}"))
        return d_model, experts_width(self.config)

    def module(self, path: str, *, where: str | None = None) -> nn.Module:
        """The module of that full name.

        Args:
            where: the option that names it, for the message; the family's own paths were checked when it was loaded.

        Raises:
            UsageError: the model has no such module; names the nearest that it has.
        """
        try:
            return self.model.get_submodule(path)  # type: ignore[no-any-return]
        except AttributeError as error:
            raise UsageError(
                f"{type(self.model).__name__} has no module '{path}': {found_at(self.model, path)}",
                where=where or f"family '{self.family.name}'",
                fix="name a module that is there; print(model) shows them",
            ) from error
