"""Anybody's editor that changes a model object: called on the real model, read off by comparison, put back."""
