"""Edits one after another: which edited models a program needs, in which order, and what is kept of a long chain."""
