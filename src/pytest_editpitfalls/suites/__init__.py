"""Suites of cases: the case model, the readers of files, and the facts that a model has to hold."""
