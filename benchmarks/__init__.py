"""Measurements: agreement with the released code's numbers, and (later) timings side by side."""
