"""From facts, relations and rules, and a model, to suites: candidates, targets, quotas, datasheet."""
