"""From the name on the command line to a `ModelSource`, before anything is fetched. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pytest_editpitfalls.errors import UsageError, did_you_mean

from .adapters import CONFIG, Adapter, adapter_in
from .cache import cache_directory
from .known import EMBEDDED, KNOWN_MODELS, known_names, short_name_of, short_name_of_id

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class ModelSource:
    """One model, by where it comes from.

    Attributes:
        name: what the user wrote.
        short_name: for node ids and tables; only letters, digits, dot, underscore, hyphen.
        kind: "embedded", "gguf", "directory" or "hub".
        cache: directory of fetched and converted files.
        path: the directory or the GGUF file; None for "embedded" and "hub".
        hub_id: the Hugging Face id of "hub".
        revision: branch, tag or commit of ``hub_id``; None means the main one.
        allow_remote_code: whether code from the model's repository may run.
        adapter: the LoRA adapter that is merged into what the others name.
    """

    name: str
    short_name: str
    kind: Literal["embedded", "gguf", "directory", "hub"]
    cache: Path
    path: Path | None = None
    hub_id: str | None = None
    revision: str | None = None
    allow_remote_code: bool = False
    adapter: Adapter | None = None


def resolve(
    name: str, *, cache_dir: Path | None = None, allow_remote_code: bool = False, option: str | None = None
) -> ModelSource:
    """Return the model that ``name`` means; nothing is fetched.

    Short names come first (write ``./NAME`` for a directory of that name), then paths, then Hugging Face ids
    (``owner/name`` or ``owner/name@revision``).

    Args:
        option: what the user typed the name behind, for the message.

    Raises:
        UsageError: no such short name ("did you mean"), directory or file; an adapter that cannot be merged.
    """
    cache = cache_directory(cache_dir)
    text = name.strip()
    if text.lower() == EMBEDDED or (_is_plain(text) and short_name_of(text) == EMBEDDED):
        return ModelSource(name, EMBEDDED, "embedded", cache)
    if _is_plain(text) and (short := short_name_of(text)) is not None:
        return ModelSource(name, short, "hub", cache, hub_id=KNOWN_MODELS[short], allow_remote_code=allow_remote_code)
    try:
        path = Path(text).expanduser()
        exists = bool(text) and path.exists()
    except (RuntimeError, OSError) as error:  # ~nobody, a name too long
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(reason, where=f"model '{name}'", fix="write the directory in full") from None
    if exists:
        return _local(name, path, cache, allow_remote_code)
    if text.startswith((".", "/", "~", "\\")) or text.lower().endswith(".gguf"):
        raise UsageError(
            "there is no such file or directory",
            where=f"model '{name}'",
            fix="give a directory with config.json, a .gguf file, a Hugging Face id or a short name",
        )
    if _HUB_ID.fullmatch(text):
        hub_id, _, revision = text.partition("@")
        return ModelSource(
            name,
            short_name_of_id(hub_id) or sanitised(hub_id.rpartition("/")[2]),
            "hub",
            cache,
            hub_id=hub_id,
            revision=revision or None,
            allow_remote_code=allow_remote_code,
        )
    raise UsageError(
        f"unknown model '{name}'",
        where=option,
        fix=f"{did_you_mean(text, known_names())}; or OWNER/NAME on Hugging Face, a directory, a .gguf file",
    )


def hub_directory(source: ModelSource) -> Path | None:
    """Where the hub's own cache has the checkpoint; None where it has not, or where the hub could have no such id."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(str(source.hub_id), "config.json", revision=source.revision)
    except ValueError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def sanitised(name: str) -> str:
    """``name`` with everything replaced that does not belong in a node id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def _is_plain(text: str) -> bool:
    return "/" not in text and "\\" not in text and not text.lower().endswith(".gguf")


def _local(name: str, path: Path, cache: Path, allow_remote_code: bool) -> ModelSource:
    path = path.resolve()
    if path.is_file():
        return _gguf(name, path, cache)
    adapter = adapter_in(path)
    if (path / "config.json").is_file():
        return ModelSource(
            name,
            sanitised(path.name),
            "directory",
            cache,
            path=path,
            allow_remote_code=allow_remote_code,
            adapter=adapter,
        )
    if adapter is not None:
        return replace(_base_of(adapter, cache, allow_remote_code), name=name, short_name=sanitised(path.name))
    candidates = sorted(path.glob("*.gguf"))
    if len(candidates) == 1:
        return _gguf(name, candidates[0], cache)
    found = f"; it holds {len(candidates)} .gguf files" if candidates else ""
    raise UsageError(
        f"the directory holds no config.json{found}",
        where=f"model '{name}'",
        fix="name one .gguf file, or a directory written by save_pretrained (model and tokenizer)",
    )


def _base_of(adapter: Adapter, cache: Path, allow_remote_code: bool) -> ModelSource:
    """The model that an adapter without a config beside it was trained on, with the adapter."""
    where = str(adapter.directory / CONFIG)
    fix = f"set base_model_name_or_path in {CONFIG} to the directory or the Hugging Face id of the base model"
    if not adapter.base:
        raise UsageError("this is a LoRA adapter, and it does not name its base model", where=where, fix=fix)
    known = Path(adapter.base).is_dir() and "/" not in adapter.base
    try:
        base = resolve(
            f"./{adapter.base}" if known else adapter.base, cache_dir=cache, allow_remote_code=allow_remote_code
        )
    except UsageError as error:
        raise UsageError(
            f"this is a LoRA adapter, and its base model '{adapter.base}' is not found: {error.what}",
            where=where,
            fix=fix,
        ) from None
    if base.adapter is not None:
        raise UsageError(
            f"this is a LoRA adapter on top of another one ({base.adapter.directory})",
            where=where,
            fix="merge the lower one into its base model with peft and save the result",
        )
    return replace(base, adapter=adapter, revision=adapter.revision or base.revision)


def _gguf(name: str, path: Path, cache: Path) -> ModelSource:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise UsageError(
            "the file is not a GGUF file",
            where=f"model '{name}'",
            fix="give a .gguf file, or the directory that holds config.json and the weights",
        )
    return ModelSource(name, sanitised(path.stem), "gguf", cache, path=path)
