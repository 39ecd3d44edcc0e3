"""Find out what a knowledge edit breaks: knowledge conflict and knowledge distortion as pytest items.

Importing this package imports neither torch nor transformers nor pydantic; everything heavy lives in
:mod:`pytest_editpitfalls.engine` and is loaded only when a run asks for it.
"""

__version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: pytest loads this package at every start, and reading it takes ms."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pytest-editpitfalls")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
