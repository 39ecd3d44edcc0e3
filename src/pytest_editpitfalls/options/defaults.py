"""What is taken where the user says nothing, and names. This is loaded at every start of pytest: it imports nothing."""

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_GROUP = "default"
"""The suites that run where none is named."""

DEFAULT_SUITES = (DEFAULT_GROUP,)
DEFAULT_STORE = ".pitfalls"
SUCCESS_FLOOR = 0.7
"""Floor of mean edit success, a fraction."""

NODE_FOLDER = "pitfalls"
"""Folder of the suites' modules in node ids; it exists in node ids only."""

PROPERTIES = "properties"
"""What ``--pitfalls-suite`` calls the properties of editors: no suite of cases."""

MARKER = "pitfalls"
CASE_FIXTURE = "pitfall_case"
