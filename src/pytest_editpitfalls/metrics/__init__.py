"""What a metric is, and the functions that several kinds of pitfall share."""
