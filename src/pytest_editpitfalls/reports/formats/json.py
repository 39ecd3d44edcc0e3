"""The result file, which the commands on stored runs read."""

from . import Format

FORMAT = Format(
    "json",
    "write all results to this JSON file (-: standard output)",
    "pytest_editpitfalls.results.writer:write_results",
    order=0,
)
