"""What can be said of a population from some of its cases: clusters, bounds and tests. Pure Python."""
