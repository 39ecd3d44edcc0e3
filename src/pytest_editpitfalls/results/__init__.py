"""What a run leaves behind: records, aggregates, gates and the JSON file. Pure Python."""
