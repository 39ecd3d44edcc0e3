"""What is taken where the user says nothing. Apart from `config`, as ``--help`` needs no more than this."""

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_SUITES = ("all",)
DEFAULT_STORE = ".pitfalls"
SUCCESS_FLOOR = 0.7
"""Floor of mean edit success, a fraction."""

NODE_FOLDER = "pitfalls"
"""Folder of the suites' modules in node ids; it exists in node ids only."""
