"""From a function, a batched editor's class or a declaration to an `EditorDeclaration`. Torch-free."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from pydantic import ConfigDict, ValidationInfo, create_model, field_validator

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editing.templates import PromptForm
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.errors import UsageError

from .arguments import found_file, is_structured
from .options import InPlaceOptions, Keeps, TargetFormat

Function = TypeVar("Function", bound=Callable[..., Any])

_SIGNATURE = "(model, tokenizer, requests, **hyperparameters)"
_KINDS = "a function, a batched editor's class (with prepare and edit) or an EditorDeclaration"
_MARK = "__editpitfalls_in_place__"
_BUILT_FROM = "a function's keywords"


def in_place_editor(
    *,
    targets: TargetFormat | None = None,
    prompts: PromptForm | None = None,
    keeps: Keeps = "nothing",
    independent_rows: bool = False,
    reset: Callable[[], object] | None = None,
    hyperparameters: type[Hyperparameters] | None = None,
    title: str | None = None,
    source: str | None = None,
    draws: str = "not said",
    weights: Sequence[str] | None = None,
    violates: Mapping[str, str] | None = None,
    epsilon: Mapping[str, float] | None = None,
    restores: bool = False,
    same_draws: bool = False,
    reset_for: Callable[[object], object] | None = None,
    folder: Path | None = None,
) -> Callable[[Function], Function]:
    """Describe a function ``(model, tokenizer, requests, **hyperparameters)`` that edits a model in place.

    A function without this decorator is an in-place editor too, with the defaults below.

    Args:
        targets: ``"plain"``: requests have ``"target_new": "Rome"``; ``"str"``: ``"target_new": {"str": "Rome"}``. By
            default the first is tried, and the second where the function takes the text for a dictionary.
        prompts: ``"filled"``: requests have ``"prompt": "The capital of France is"``; ``"template"``: they have
            ``"prompt": "The capital of {} is"``, and the editor may do with it what it likes. By default it is the
            template as well, and an editor that tokenises a literal ``{}`` is an error of the case.
        keeps: ``"attachments"`` where hooks, modules, buffers or a changed ``forward`` on the model are the edit:
            they are kept with the edited model and put on again while it is asked. Otherwise they are an error.
        independent_rows: whether what is attached answers each row of a batch by that row alone, padding on the right
            included. Such models are asked in batches, and one row of each is asked alone as well: a difference is an
            error of the case. Otherwise every row has a pass of its own.
        reset: called without arguments before each edit that starts at the unedited model, where the function keeps
            something in global variables that the next case must not find (AlphaEdit's ``cache_c`` in EasyEdit). An
            attribute ``reset`` of the function or object does the same.
        hyperparameters: class of the hyper-parameters; by default made from the function's keywords.
        title: name for tables; by default the function's own.
        source: paper and code that it follows.
        draws: what it draws at random, in words; ``"nothing"`` where it gives the same under every seed, so that
            ``--pitfalls-seeds`` runs it once.
        weights: full names of the modules or parameters that it may change, ``*`` for anything.
        violates: properties that it is known not to have, each with the reason (docs/properties.md).
        epsilon: property -> how far log-probabilities may be apart, in nats, where it is not the usual.
        restores: whether writing the old object back gives the unedited model, exactly.
        same_draws: whether every call starts from the run's seed, not from one of its case: what the function draws
            once and keeps (context templates in a global variable) is then the same whichever case comes first.
        reset_for: in the place of ``reset``: it is given an object that is another one for every model and seed, so
            that a cache can be kept for these alone.
        folder: where a file of hyper-parameters is looked for that is not there from the working directory.
    """
    if targets not in ("plain", "str", None):
        raise UsageError(f"targets={targets!r}", where="in_place_editor", fix="write 'plain' or 'str'")
    if keeps not in ("nothing", "attachments"):
        raise UsageError(f"keeps={keeps!r}", where="in_place_editor", fix="write 'nothing' or 'attachments'")
    if prompts not in ("filled", "template", None):
        raise UsageError(f"prompts={prompts!r}", where="in_place_editor", fix="write 'filled' or 'template'")
    options = InPlaceOptions(
        targets,
        prompts,
        keeps,
        independent_rows,
        reset,
        hyperparameters,
        title,
        source,
        draws,
        _names(weights),
        dict(violates or {}),
        dict(epsilon or {}),
        restores,
        same_draws,
        reset_for,
        folder,
    )

    def mark(function: Function) -> Function:
        setattr(function, _MARK, options)
        return function

    return mark


def _names(weights: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if weights is None else (weights,) if isinstance(weights, str) else tuple(weights)


def declaration_of(name: str, value: Any, *, where: str) -> EditorDeclaration:
    """The declaration of a user's editor under ``name``.

    Args:
        name: what ``--editor``, node ids and results call it.
        value: a function, a batched editor's class or a declaration.
        where: what it was found in, for messages and as its default source.

    Raises:
        UsageError: it is none of these, or its signature does not fit.
    """
    if isinstance(value, EditorDeclaration):
        return replace(value, name=name, factory=_checked(name, value.make, value.prompts))
    if isinstance(value, type):
        return _batched(name, value, where)
    if hasattr(value, "edit") and hasattr(value, "prepare"):
        raise UsageError(
            f"this is an editor, not its class {type(value).__name__}",
            where=where,
            fix="give the class: it is called with (hyperparameters, resources) once the model is loaded",
        )
    if callable(value):
        return _in_place(name, value, where)
    raise UsageError(
        f"a {type(value).__name__} is no editor", where=where, fix=f"give {_KINDS}: docs/write-an-editor.md"
    )


def _batched(name: str, kind: type[Any], where: str) -> EditorDeclaration:
    lacks = [method for method in ("prepare", "edit") if not callable(getattr(kind, method, None))]
    if lacks:
        raise UsageError(
            f"the class {kind.__name__} has no method {' and no method '.join(lacks)}",
            where=where,
            fix=f"give {_KINDS}: docs/write-an-editor.md",
        )
    hyperparameters = getattr(kind, "hyperparameters", Hyperparameters)
    if not (isinstance(hyperparameters, type) and issubclass(hyperparameters, Hyperparameters)):
        raise UsageError(
            f"{kind.__name__}.hyperparameters is not a subclass of Hyperparameters",
            where=where,
            fix="from pytest_editpitfalls.editors import Hyperparameters, and subclass it",
        )

    return EditorDeclaration(
        name=name,
        title=getattr(kind, "title", kind.__name__),
        source=getattr(kind, "source", where),
        form=getattr(kind, "form", "low-rank"),
        writes=getattr(kind, "writes", "not said"),
        keeps=getattr(kind, "keeps", "nothing"),
        targets=getattr(kind, "targets", "together"),
        experts=getattr(kind, "experts", "any"),
        second_moment=bool(getattr(kind, "second_moment", False)),
        prompts=getattr(kind, "prompts", None),
        draws=getattr(kind, "draws", "not said"),
        violates=dict(getattr(kind, "violates", {})),
        epsilon=dict(getattr(kind, "epsilon", {})),
        restores=bool(getattr(kind, "restores", False)),
        needs_plain_weights=str(getattr(kind, "needs_plain_weights", "")),
        needs_one_device=str(getattr(kind, "needs_one_device", "")),
        suite=bool(getattr(kind, "suite", True)),  # every job has it; only the class can say that it does not use it
        hyperparameters=hyperparameters,
        factory=_checked(name, kind, getattr(kind, "prompts", None)),
    )


def _checked(name: str, make: Callable[..., Any], prompts: PromptForm | None) -> Callable[..., Any]:
    def checked(values: Any, resources: Any) -> Any:
        from pytest_editpitfalls.engine.editing.result_checks import CheckedEditor

        return CheckedEditor.made(name, make, values, resources, may_tokenise_templates=prompts == "template")

    return checked


def _in_place(name: str, function: Callable[..., Any], where: str) -> EditorDeclaration:
    options: InPlaceOptions = getattr(function, _MARK, InPlaceOptions())
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise UsageError("the editor is a coroutine or a generator", where=where, fix="write a plain function")
    hyperparameters = options.hyperparameters or from_signature(function, where=where, folder=options.folder)

    def make(values: Any, resources: Any) -> Any:
        from .editor import InPlaceEditor

        return InPlaceEditor(name, function, options, values, resources)

    return EditorDeclaration(
        name=name,
        title=options.title or str(getattr(function, "__name__", type(function).__name__)),
        source=options.source or where,
        form="in place",
        writes="whatever it changes in the model object",
        keeps="what it attached to the model" if options.keeps == "attachments" else "nothing",
        draws=options.draws,
        violates=options.violates,
        epsilon=options.epsilon,
        restores=options.restores,
        needs_plain_weights="it is lent the model object, to write to its weights",
        needs_one_device="it is lent the model object, and moves what it works with to that model's one device",
        hyperparameters=hyperparameters,
        factory=make,
    )


class KeywordHyperparameters(Hyperparameters):
    """Base of the classes made from a function's keywords: any type, and ``layers`` is whatever the function says."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    folder: ClassVar[Path | None] = None

    @field_validator("*")
    @classmethod
    def _file_as_path(cls, value: Any, info: ValidationInfo) -> Any:
        """A file of hyper-parameters counts by its content, in the store too: so it has to be known where it lies."""
        name = info.field_name or ""
        if isinstance(value, str | Path) and (cls.model_fields[name].alias or name) in cls.structured:
            found = found_file(value, cls.folder)
            return found if found.is_file() else value
        return value

    @field_validator("layers", mode="before", check_fields=False)
    @classmethod
    def _layer_list(cls, value: object) -> object:
        return value

    @field_validator("layers", check_fields=False)
    @classmethod
    def _layers_exist(cls, value: Any, info: ValidationInfo) -> Any:
        n_layers = (info.context or {}).get("n_layers")
        layers = value if isinstance(value, list | tuple) else (value,)
        numbers = [layer for layer in layers if isinstance(layer, int)]
        if n_layers is not None and not all(-n_layers <= layer < n_layers for layer in numbers):
            raise ValueError(f"the model has the layers 0 to {n_layers - 1}")
        return value

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        del n_layers
        return {"source": _BUILT_FROM}


def from_signature(function: Callable[..., Any], *, where: str, folder: Path | None = None) -> type[Hyperparameters]:
    """A class of hyper-parameters from what follows the third parameter: names, defaults and annotations.

    ``**kwargs`` accepts any key.

    Raises:
        UsageError: the function does not take ``(model, tokenizer, requests)`` as its first three.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError, AttributeError, ValueError):
        signature = _plain_signature(function, where)
    parameters = list(signature.parameters.values())
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    leading, rest = parameters[:3], parameters[3:]
    if len(leading) < 3 or any(each.kind not in positional for each in leading):
        raise UsageError(
            f"the editor takes {signature}, not {_SIGNATURE}",
            where=where,
            fix="give the function the parameters model, tokenizer and requests, in this order",
        )
    fields: dict[str, Any] = {}
    structured: dict[str, type] = {}
    extra = False
    for each in rest:
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            extra = True
        elif each.kind is inspect.Parameter.POSITIONAL_ONLY and each.default is inspect.Parameter.empty:
            raise UsageError(f"'{each.name}' can only be given by position", where=where, fix=f"take {_SIGNATURE}")
        elif each.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            fields |= _field(each, where)
            if is_structured(each.annotation):
                structured[each.name] = each.annotation
    config = ConfigDict(extra="allow" if extra else "forbid")
    own = {"model_config": config, "structured": structured, "folder": folder}
    base = type("KeywordHyperparameters", (KeywordHyperparameters,), own)
    made: Any = create_model(
        f"{getattr(function, '__name__', type(function).__name__)}Hyperparameters",
        __base__=base,
        __doc__=f"Keywords of {where}.",
        **fields,
    )
    return cast("type[Hyperparameters]", made)


def _plain_signature(function: Callable[..., Any], where: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"its parameters cannot be read: {error}", where=where, fix=f"wrap it in a function {_SIGNATURE}"
        ) from None


def _field(parameter: inspect.Parameter, where: str) -> dict[str, Any]:
    from pydantic import Field

    name, default = parameter.name, parameter.default
    if name == "source":
        raise UsageError(
            "a keyword cannot be called 'source': records say there where the values come from",
            where=where,
            fix="give it another name",
        )
    missing = default is inspect.Parameter.empty
    annotation = parameter.annotation
    if is_structured(annotation):
        annotation = Any  # a path or a table, of which `structured_argument` makes an object
    elif annotation is inspect.Parameter.empty or isinstance(annotation, str):
        annotation = Any if missing else _type_of(default)
    elif default is None:
        annotation = annotation | None if not isinstance(annotation, str) else Any
    if name.startswith("_") or hasattr(Hyperparameters, name):
        # pydantic has an attribute of that name ("copy"): the user's name is the alias
        return {f"own_{name.lstrip('_')}": (annotation, Field(... if missing else default, alias=name))}
    return {name: (annotation, ... if missing else default)}


def _type_of(default: Any) -> Any:
    """What an argument without annotation may be: as its default, and a whole number may become any number."""
    if isinstance(default, bool | str | float):
        return type(default)
    return int | float if isinstance(default, int) else Any
