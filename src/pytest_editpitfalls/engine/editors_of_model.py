"""The editors of one model under one seed, each made when it is first asked for and prepared once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pytest_editpitfalls.errors import UsageError

from .batch_size.automatic import BatchSize
from .batches_of_model import BatchSizes
from .edited_checkpoint.editor import EditedCheckpoint
from .editing.declaration import EditorDeclaration
from .editing.interface import Editor, EditorResources
from .editors.editor_registry import EDITORS
from .editors.experts import check_experts
from .editors.kept_weights import check_weights
from .editors.resolution import resolve_hyperparameters
from .hyperparameters.fields import Hyperparameters
from .hyperparameters.module_names import module_name_notes
from .isolation import is_out_of_memory
from .products import float32_products
from .settings import ProgressCallback


class EditorsOfModel:
    """Makes editors, and prepares them.

    Args:
        resources: what each editor gets, with a number of tokens of its own.
        sizes: how many cases run together; shared with other seeds.
        seconds: stage -> seconds, to be added to.
        announce: called with notes on an editor.
        in_stages: how an editor is called in ``seconds``; "{}" is its name.
        is_tf32: whether products may be less precise.
    """

    def __init__(
        self,
        resources: EditorResources,
        sizes: BatchSizes,
        seconds: dict[str, float],
        announce: Callable[[str], None],
        *,
        in_stages: str = "{}",
        is_tf32: bool = False,
    ) -> None:
        self._resources, self._sizes, self._seconds, self._announce = resources, sizes, seconds, announce
        self._in_stages, self._is_tf32 = in_stages, is_tf32
        self._made: dict[str, Editor] = {}
        self._own_resources: dict[str, EditorResources] = {}

    def batch_size(self, name: str) -> BatchSize:
        """Return how many cases of an editor run together; raises `UsageError` for an unknown one."""
        return self._sizes.of(name, EDITORS.get(name, where="--pitfalls-editor"))

    def set_tokens(self, name: str, tokens: int) -> None:
        """Say how many padded tokens one pass of an editor may have."""
        self._own_resources[name].max_tokens = tokens

    def get(self, name: str) -> Editor:
        """Return an editor, the same object every time.

        Raises:
            UsageError: unknown editor, or bad hyper-parameters.
        """
        if name not in self._made:
            declaration = EDITORS.get(name, where="--pitfalls-editor")
            settings, host = self._resources.settings, self._resources.host
            values = resolve_hyperparameters(
                name,
                declaration.hyperparameter_class(),
                settings.model,
                host.n_layers,
                settings.config_tables.get(name),
                settings.overrides.get(name),
                config_path=settings.config_path,
            )
            check_experts(name, values, host.family)
            check_weights(name, declaration, host)
            for note in module_name_notes(values, host.family):
                self._announce(f"{name}: {note}")
            self._own_resources[name] = replace(self._resources, max_tokens=self.batch_size(name).choice.tokens)
            self._made[name] = self._make(name, declaration, values)
        return self._made[name]

    def prepared(self, name: str, progress: ProgressCallback) -> Editor:
        """Return the editor with what all cases share; the time that takes is booked once, not on the first cases.

        Raises:
            UsageError: as `get`; what all cases share cannot be computed, for lack of memory for instance.
        """
        editor = self.get(name)
        stage = f"prepare {self._in_stages.format(name)}"
        if stage not in self._seconds:
            started = time.perf_counter()
            try:
                with float32_products(tf32=self._is_tf32):
                    editor.prepare(progress)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                settings, device = self._resources.settings, self._resources.host.device
                raise UsageError(
                    f"memory ran out while preparing '{name}' ({str(error).splitlines()[0]})",
                    where=f"model '{settings.model}' on {device}",
                    fix="use a device with more memory, a smaller model, fewer workers, or --pitfalls-dtype=bfloat16",
                ) from error
            self._seconds[stage] = time.perf_counter() - started
        return editor

    def _make(self, name: str, declaration: EditorDeclaration, values: Hyperparameters) -> Editor:
        started = time.perf_counter()
        made = declaration.make(values, self._own_resources[name])
        if isinstance(made, EditedCheckpoint):
            self._seconds[f"load {name}"] = time.perf_counter() - started
            for remark in made.remarks:
                self._announce(f"{name}: {remark}")
        return made
