"""Measurements: agreement with the released code's numbers, and (later) timings side by side."""

from pytest_editpitfalls.openmp import spin_briefly

spin_briefly()  # here, too: some benchmarks import torch before they import the engine
