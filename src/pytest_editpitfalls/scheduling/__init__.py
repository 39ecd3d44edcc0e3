"""Who runs what: batches of cases, shards, workers and their devices."""
