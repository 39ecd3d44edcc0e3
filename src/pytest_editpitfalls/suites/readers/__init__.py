"""One module per file format that suites are read from."""
