"""One module per kind of pitfall."""
