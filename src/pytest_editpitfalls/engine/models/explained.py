"""What transformers, safetensors and the hub raise while a model is loaded, as one message. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pytest_editpitfalls.engine.quiet import without_bars, without_warnings
from pytest_editpitfalls.errors import UsageError, did_you_mean

from .gguf import first_line
from .hub import elsewhere, not_here, unreachable
from .known import known_names
from .safety import pickled
from .source import ModelSource


@contextmanager
def _quiet(source: ModelSource) -> Iterator[None]:
    """Loading without warnings and progress bars between pytest's lines; downloads keep their bars."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with without_warnings(), nullcontext() if source.kind == "hub" else without_bars():
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def explained(source: ModelSource, part: str = "it") -> Iterator[None]:
    """Turn what transformers, safetensors and the hub raise into one message; of a damaged file that is any type."""
    try:
        with _quiet(source):
            yield
    except UsageError:
        raise
    except Exception as error:
        raise _usage_error(error, source, part) from error


def _usage_error(error: BaseException, source: ModelSource, part: str) -> UsageError:
    where = f"model '{source.name}'"
    if "trust_remote_code" in str(error):
        return UsageError(
            "the model needs code from its repository, which is not run",
            where=where,
            fix="use a model whose architecture transformers knows itself",
        )
    if "use_safetensors=True" in str(error) and source.hub_id is not None:
        return pickled(where, source.hub_id)
    if "does not recognize this architecture" in str(error):
        return UsageError(
            f"transformers does not know its architecture: {first_line(error)}",
            where=where,
            fix="install a newer transformers, then declare its family: docs/families.md",
        )
    if source.kind != "hub":
        return UsageError(
            f"{part} cannot be loaded: {first_line(error)}",
            where=where,
            fix="give a directory that save_pretrained has written, with the tokenizer's files in it",
        )
    causes = _cause_names(error)
    what, fix = f"{part} cannot be loaded: {first_line(error)}", "check the id; " + elsewhere(source)
    if "GatedRepoError" in causes:
        what = f"access to '{source.hub_id}' is restricted"
        fix = "accept its licence on its Hugging Face page and log in with 'hf auth login'"
    elif "RepositoryNotFoundError" in causes:
        what = f"Hugging Face has no public model '{source.hub_id}'"
        fix = did_you_mean((source.hub_id or "").rpartition("/")[2], known_names())
    elif "RevisionNotFoundError" in causes:
        what, fix = f"'{source.hub_id}' has no revision '{source.revision}'", "check the part after '@'"
    elif causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout"}:
        return not_here(source, unreachable() or "Hugging Face cannot be reached")
    return UsageError(what, where=where, fix=fix)


def _cause_names(error: BaseException | None) -> set[str]:
    names: set[str] = set()
    while error is not None:
        names.update(kind.__name__ for kind in type(error).__mro__)
        error = error.__cause__ or error.__context__
    return names
