"""Suites of cases: by name and path, the readers of files, and the facts that a model has to hold."""

from .readers import edits_of
from .suite import Suite, load_suite, load_suites

__all__ = ["Suite", "edits_of", "load_suite", "load_suites"]
