"""What is measured: metric definitions, thresholds and the published figures; pure Python."""
