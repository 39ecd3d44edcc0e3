"""One self-contained HTML page."""

from . import Format

FORMAT = Format(
    "html", "write a report to this HTML file (-: standard output)", "pytest_editpitfalls.reports.html:write_html"
)
