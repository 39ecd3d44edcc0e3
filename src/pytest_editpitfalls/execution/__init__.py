"""Who runs batches of cases: this process, the workers of pytest-xdist, or Ray."""
