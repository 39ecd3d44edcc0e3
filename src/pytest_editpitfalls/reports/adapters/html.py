"""pytest-html: the story of a case below its row."""

import html

from . import Adapter, CaseOfItem


def _add(case: CaseOfItem) -> None:
    if case.report.when == "teardown":
        return  # the row has it from the call
    from pytest_html import extras

    # not `extras.text`: beside a report that is not self-contained that would be one file for each case
    extra = extras.html(f'<pre class="log">{html.escape(case.story)}</pre>')
    case.report.extras = [*getattr(case.report, "extras", ()), extra]  # type: ignore[attr-defined]


ADAPTER = Adapter("pytest-html", "htmlpath", _add)
