"""From suites to test items: which suites run, the modules that hold them, and one item per case."""
