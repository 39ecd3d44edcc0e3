"""Batches run by the workers of pytest-xdist."""
