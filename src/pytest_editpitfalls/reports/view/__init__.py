"""One view of a run: what every report says, as plain data and words. A report draws it and computes nothing again."""
