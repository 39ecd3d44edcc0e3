"""Thresholds on cases, gates on suites, and how far a figure can be trusted."""
