"""What a suite asks, whatever its kind: facts, edits, relations, and the cases that are made of them."""
