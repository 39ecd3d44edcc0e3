"""Two runs side by side: baselines, paired cases, gates on how much worse, and how far to trust them. Pure Python."""
