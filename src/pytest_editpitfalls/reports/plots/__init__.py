"""Plots in a paper's style, drawn by matplotlib (the extra ``plots``) without a display."""
