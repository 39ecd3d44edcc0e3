"""What a number depends on besides its case: the run header, and the keys of headers and cases. Torch-free.

Everything that the numbers depend on is in a key, by content; nothing else is. Device, batch size, threads and workers
are not: they change numbers by rounding alone, and a run may go on on other machines. Where a file lies is not; what it
holds is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.cases.digests import case_digest, digest_of, program_digest, suite_digest
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.outside.collection import checkout_of
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.files import file_digest
from pytest_editpitfalls.options.editor_labels import editor_name, without_seed
from pytest_editpitfalls.program import Program, SuitePrograms

from .sources import editor_source_digest, engine_source_digest, files_digest, statistics_digest

FORMAT: Literal[3] = 3
"""Version of headers, records and keys; a store of another version is refused. 2: a case's digest covers its
row; 3: records keep token counts and which facts the model holds."""

CONTENT = "sha256"
"""Key of the digest that stands for a file in `RunHeader.hyperparameters`."""

_MAX_FOLDER = 10_000
"""Files of a folder that a hyper-parameter names; one with more cannot be keyed by content."""

_FILLED_LATER = frozenset({"hyperparameters", "context_templates", "second_moment", "suites"})
"""Of an editor's `describe()`: keyed in another way, or known after preparation only and the same from the same key."""

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")

_UNKEYED = frozenset({"models", "description"})


class ModelName(BaseModel):
    """What a run called a model: its label in node ids and results, and the source as it was typed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    source: str


class RunHeader(BaseModel):
    """One editor with its hyper-parameters on one model: everything that its numbers depend on besides the case.

    Attributes:
        editor: label of the editor without a seed ("memit+mle"), which has a field of its own.
        hyperparameters: all of them, resolved; a file among them is its content's digest.
        editor_facts: what somebody's own editor says of itself besides (`Editor.describe` before it is prepared), and
            somebody's own declaration of the model's family; of an edited checkpoint the weights that it changes; of an
            editor in a checkout what its folder of second moments lists.
        editor_source: digest of the editor's source code; None where some of it cannot be read.
        fingerprint: of the model: configuration, tokenizer and weights.
        seed: of everything that is random.
        dtype: of the weights, as they were loaded.
        versions: of torch and transformers.
        engine_source: digest of what computes the numbers here.
        takes_suite: whether a case's result depends on the other cases of its suite, so that they are in its key.
        once: id of the run where the editor's source code or a file that it is given cannot be read: no other run finds
            these results by key.
        models: what the model was called; not in the key.
        description: `EngineSession.describe` of editor and model, for reports; not in the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[3] = FORMAT
    editor: str
    hyperparameters: dict[str, JsonValue]
    editor_facts: dict[str, JsonValue]
    editor_source: str | None
    fingerprint: str
    seed: int
    dtype: str
    versions: dict[str, str]
    engine_source: str
    takes_suite: bool
    once: str | None
    models: tuple[ModelName, ...]
    description: dict[str, JsonValue]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The fields that are in the key, as plain JSON types."""
        return self.model_dump(mode="json", exclude=set(_UNKEYED))

    @cached_property
    def key(self) -> str:
        """SHA-256 over `identity`: 64 hex digits."""
        return digest_of(self.identity)

    def with_description(self, description: Mapping[str, Any]) -> RunHeader:
        """The same header with another description, for instance one that was taken after the editor was prepared."""
        return self.model_copy(update={"description": plain(dict(description))})

    def with_models(self, models: tuple[ModelName, ...]) -> RunHeader:
        """The same header with further names of the model."""
        known = {(each.label, each.source): each for each in (*self.models, *models)}
        return self.model_copy(update={"models": tuple(known[name] for name in sorted(known))})


def run_header(
    label: str,
    settings: EngineSettings,
    description: Mapping[str, Any],
    *,
    model_label: str,
    run_id: str,
) -> RunHeader:
    """The header of one editor on one model.

    Args:
        label: label of the editor ("memit+mle", "memit+mle+seed1").
        description: `EngineSession.describe` of the editor, taken before its first batch.
        run_id: any text that all processes of this run share and no other run has.

    Raises:
        UsageError: unknown editor or bad hyper-parameters.
    """
    name = editor_name(label)
    declaration = EDITORS.get(name)
    model = description["model"]
    values = resolve_hyperparameters(
        name,
        declaration.hyperparameter_class(),
        settings.model,
        model["layers"],
        settings.config_tables.get(name),
        settings.overrides.get(name),
        config_path=settings.config_path,
    )
    ours = EDITORS.is_ours(name)
    own_facts = {} if ours else {k: v for k, v in description["editor"].items() if k not in _FILLED_LATER}
    if declaration.form == "checkpoint":
        own_facts = {"changed weights": description["editor"]["checkpoint"]["digest"]}
    if "declaration" in model:  # of a family that does not ship: it says which modules are edited
        own_facts = own_facts | {"family": model["declaration"]}
    if (checkout := checkout_of(EDITORS.own_object(name))) is not None:
        own_facts = own_facts | {"statistics": {CONTENT: statistics_digest(checkout, getattr(values, "hparams", None))}}
    source = editor_source_digest(name)
    keyed = keyed_hyperparameters(values)
    return RunHeader(
        editor=without_seed(label),
        hyperparameters=keyed,
        editor_facts=plain(own_facts),
        editor_source=source,
        fingerprint=model["fingerprint"],
        seed=description["seed"],
        dtype=model["dtype"],
        versions={package: _release(description["versions"][package]) for package in ("torch", "transformers")},
        engine_source=engine_source_digest(),
        takes_suite=declaration.suite or not ours,  # what somebody's editor reads is not known
        once=run_id if source is None or _unread(keyed) or _unread(own_facts) else None,
        models=(ModelName(label=model_label, source=settings.model),),
        description=plain(dict(description)),
    )


def keyed_hyperparameters(values: Hyperparameters) -> dict[str, JsonValue]:
    """Hyper-parameters by their published names as plain JSON types; what names a file is its content instead.

    A declared path (`Hyperparameters.path_fields`) and any `Path` is its digest alone; a text that happens to name
    a file is kept beside the digest. One that cannot be read, or a folder of very many files, has the digest None.
    ``source``, which says where values come from, is left out.
    """
    paths = {kind.alias or name for name, kind in type(values).model_fields.items() if name in values.path_fields}
    dumped = values.model_dump(mode="python", by_alias=True)
    return {key: _by_content(value, key in paths) for key, value in dumped.items() if key != "source"}


def case_key(header: RunHeader, case: Case, program: Program, suite: SuitePrograms | None = None) -> str:
    """Key of one case's record: 64 hex digits over header, case, program and, where they count, the suite's cases.

    Args:
        case: counts by what it says, not by the file and suite that it stands in.
        program: what the case compiles to; Multi-Label Edit has another one.
        suite: all cases of the suite; looked at only where ``header.takes_suite``.
    """
    others = suite_digest(suite) if header.takes_suite and suite is not None else None
    return digest_of([header.key, case_digest(case), program_digest(program), others])


def chain_identity(header: RunHeader, suite: SuitePrograms | None) -> str | None:
    """What the edited models of a chain depend on besides its edits; None where that is not known between two runs."""
    if header.once is not None:
        return None
    return digest_of([header.key, suite_digest(suite) if header.takes_suite and suite is not None else None])


def plain(value: Any) -> Any:
    """``value`` as plain JSON types that any JSON text can carry; what has no such type is its text (no address)."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)  # JSON has no NaN
    if isinstance(value, Mapping):
        return {sayable(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    return sayable(str(value) if isinstance(value, str) else _ADDRESS.sub("", str(value)))


def sayable(text: str) -> str:
    """``text`` with half surrogate pairs, which UTF-8 cannot say, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _by_content(value: Any, declared: bool) -> JsonValue:
    if isinstance(value, list | tuple):
        return [_by_content(each, declared) for each in value]
    if isinstance(value, Mapping):
        return {sayable(str(key)): _by_content(each, declared) for key, each in value.items()}
    if isinstance(value, Path) or (declared and isinstance(value, str)):
        path = Path(value)
        if path.is_file() or path.is_dir():
            return {CONTENT: _content(path)}
        return {"path": sayable(str(value))}  # nothing is there (yet)
    if isinstance(value, str) and _is_file(value):
        return {"text": sayable(value), CONTENT: _content(Path(value))}
    kept: JsonValue = plain(value)
    return kept


def _content(path: Path) -> str | None:
    """Digest of a file, or of all files of a folder; None where it cannot be read."""
    try:
        if not path.is_dir():
            return file_digest(path)
        found = list(islice((each for each in path.rglob("*") if each.is_file()), _MAX_FOLDER + 1))
        files = {each.relative_to(path).as_posix(): each for each in found}
        return files_digest(files) if len(files) <= _MAX_FOLDER else None
    except OSError:
        return None


def _unread(value: JsonValue) -> bool:
    """Whether a file or folder among keyed hyper-parameters could not be read."""
    if isinstance(value, dict):
        return (CONTENT in value and value[CONTENT] is None) or any(map(_unread, value.values()))
    return isinstance(value, list) and any(map(_unread, value))


def _is_file(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null character
        return False


def _release(version: Any) -> str:
    """The version without its build: ``2.13.0`` of ``2.13.0+cpu``. A run may go on on another device."""
    return str(version).partition("+")[0]
