"""The report of a pull request, in GitHub's Markdown."""

from . import Format

FORMAT = Format(
    "markdown",
    "write a report for a pull request to this Markdown file (-: standard output)",
    "pytest_editpitfalls.reports.markdown:write_markdown",
)
