"""What was computed, kept by content: run headers and one record per case. Torch-free."""
