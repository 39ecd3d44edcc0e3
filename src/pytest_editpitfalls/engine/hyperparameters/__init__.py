"""Hyper-parameters of every editor: one module per family of editors, torch-free."""
