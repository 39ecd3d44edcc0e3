"""Many edited models in one forward pass: every row of a batch gets its own model's changes.

A case never touches the weights. Its edited model is the base model plus a list of changes, and a batch with rows of
different cases runs through the shared base model once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.model_adapter import ModelAdapter

from .change import Change, EditedModel, OwnWeights, Replacement, RowContext, Stacked


class Overlay:
    """Changes of several edited models, stacked so that every row of a batch gets its own.

    Args:
        models: the edited models; an empty one is the base model itself.
    """

    def __init__(self, host: ModelAdapter, models: Sequence[EditedModel]) -> None:
        self._host = host
        self._stacks = _stacks(models)
        self._changed = {
            index
            for index, model in enumerate(models)
            if any(isinstance(change, (Change, Replacement)) for change in model)
        }
        self._token_wise = [
            all(getattr(change, "token_wise", False) for change in model if isinstance(change, (Change, Replacement)))
            for model in models
        ]
        self._replaced = {
            index: found
            for index, model in enumerate(models)
            if (found := [change for change in model if isinstance(change, Replacement)])
        }

    def lowest_layer(self, default: int) -> int:
        """Index of the lowest block that any change touches, or ``default``: blocks below are the base model's."""
        prefix = f"{self._host.family.blocks}."
        layers = [int(name[len(prefix) :].split(".", 1)[0]) for name, _ in self._stacks if name.startswith(prefix)]
        layers += [
            change.lowest_layer(self._host.family.blocks, self._host.n_layers)
            for found in self._replaced.values()
            for change in found
        ]
        return min(layers, default=default)

    def changes(self, model: int) -> bool:
        """Whether anything of the base model is changed in this one; text before the prompt changes nothing."""
        return model in self._changed

    def token_wise(self, model: int) -> bool:
        """Whether all that is changed in this one depends on each token alone, wherever it stands."""
        return self._token_wise[model]

    def alone(self, model: int) -> bool:
        """Whether rows of this model can share no pass with rows of another."""
        return model in self._replaced

    def whole_rows(self, model: int) -> bool:
        """Whether prompt and target of this model must run in one pass of the whole model."""
        return any(change.whole_rows for change in self._replaced.get(model, ()))

    def independent_rows(self, model: int) -> bool:
        """Whether several rows of this model may share a pass."""
        return all(change.independent_rows for change in self._replaced.get(model, ()))

    @contextmanager
    def rows(self, models: Tensor, lengths: Tensor | None = None) -> Iterator[RowContext]:
        """While open, row i of every batch is answered by edited model ``models[i]``.

        Args:
            models: (rows,) indices into the list given at construction; a single index serves every row.
            lengths: (rows,) tokens of each row's prompt, right padding excluded; None where there is none.

        Yields:
            What is known of the rows; `RowContext.take` and `going_on` go on with them.
        """
        with self.going_on(RowContext(models, lengths)) as rows:
            yield rows

    @contextmanager
    def serving(self, model: int) -> Iterator[None]:
        """While open, every call of the Hugging Face model is answered by one edited model.

        A call without kept keys and values, or with empty ones, starts prompts; any other goes on with them.
        """
        one = torch.tensor([model], device=self._host.device)
        rows = RowContext(one)

        def look(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            asked = next((kwargs[key] for key in ("input_ids", "inputs_embeds") if kwargs.get(key) is not None), None)
            if (asked := args[0] if args else asked) is not None:
                rows.models = one.expand(len(asked))  # some models flatten (rows, tokens) before their MLP
            cache = kwargs.get("past_key_values")
            rows.continues = cache is not None and cache.get_seq_length() > 0
            mask = kwargs.get("attention_mask")
            rows.lengths = None
            if not rows.continues:
                rows.routes = {}
                if mask is not None and mask.ndim == 2 and not bool(mask[:, -1].all()):
                    rows.lengths = mask.sum(dim=1)  # padded on the right

        with ExitStack() as stack:
            # OPT's head calls its decoder past its base model, and others call the base model by itself.
            for module in {self._host.model, self._host.model.base_model}:
                stack.callback(module.register_forward_pre_hook(look, with_kwargs=True).remove)
            stack.enter_context(self.going_on(rows))
            yield

    @contextmanager
    def going_on(self, rows: RowContext) -> Iterator[RowContext]:
        """While open, these rows are answered; those of an earlier pass (`RowContext.take`) keep their routes."""
        with ExitStack() as stack:
            for change in self._alone(rows):
                stack.enter_context(change.applied(self._host.model))
            for (name, _), stacked in self._stacks.items():
                own = stacked.own_weights(rows, self._host.module(name)) if isinstance(stacked, OwnWeights) else None
                if own is not None:
                    stack.enter_context(own)
                elif (hook := stacked.hook(rows)) is not None:
                    handle = self._host.module(name).register_forward_hook(self._host.hook(hook))
                    stack.callback(handle.remove)
            yield rows

    def _alone(self, rows: RowContext) -> list[Replacement]:
        if not self._replaced:
            return []
        models = set(rows.models.tolist())
        if len(models) > 1 and models & set(self._replaced):
            raise ValueError(f"models {sorted(models)} cannot share a pass: one of them replaces weights")
        return [change for model in models for change in self._replaced.get(model, ())]


def _stacks(models: Sequence[EditedModel]) -> dict[tuple[str, type[Any]], Stacked]:
    """All changes by module and kind; kinds of one module are applied in the order in which they are met."""
    kinds: dict[tuple[str, type[Any]], list[list[Any]]] = {}
    for index, model in enumerate(models):
        for change in model:
            if isinstance(change, Change):
                places = kinds.setdefault((change.module, type(change)), [[] for _ in models])
                places[index].append(change)
    return {key: key[1].stack(changes) for key, changes in sorted(kinds.items(), key=lambda item: item[0][0])}
