"""Allure: the story of a case as an attachment of its test."""

from . import Adapter, CaseOfItem


def _add(case: CaseOfItem) -> None:
    if case.report.when == "teardown":
        return  # the test has it from its call
    import allure

    allure.attach(case.story, name="pitfall case", attachment_type=allure.attachment_type.TEXT)


ADAPTER = Adapter("allure-pytest", "allure_report_dir", _add)
