"""Names that the plugin's modules share. This is loaded at every start of pytest, so it imports nothing."""

MARKER = "pitfalls"
CASE_FIXTURE = "pitfall_case"
