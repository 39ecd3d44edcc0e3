"""Find out what a knowledge edit breaks: knowledge conflict and knowledge distortion as pytest items.

Importing this package imports neither torch nor transformers nor pydantic; everything heavy lives in
:mod:`pytest_editpitfalls.engine` and is loaded only when a run asks for it.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pytest-editpitfalls")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
