"""Locate-then-edit: what ROME, r-ROME, MEMIT, EMMET, PMET and AlphaEdit share. Start at `core`."""
