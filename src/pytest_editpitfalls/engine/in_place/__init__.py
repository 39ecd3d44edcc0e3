"""Editors that change a model object: called on the real model, whose changes are read off and undone."""
