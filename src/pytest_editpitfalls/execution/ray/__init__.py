"""Batches run by Ray actors."""
