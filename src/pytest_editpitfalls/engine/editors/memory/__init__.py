"""Editors with a memory beside the weights: GRACE and WISE."""
