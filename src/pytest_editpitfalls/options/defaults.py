"""What is taken where the user says nothing. Apart from `config`, as ``--help`` needs no more than this."""

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_SUITES = ("all",)
DEFAULT_STORE = ".pitfalls"
