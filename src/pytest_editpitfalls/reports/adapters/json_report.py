"""pytest-json-report: the record of a case as the metadata of its test."""

from . import Adapter, CaseOfItem


def _add(case: CaseOfItem) -> None:
    # as the plugin's fixture json_metadata does, which nobody but a test can ask for
    metadata = case.item._json_report_extra.setdefault("metadata", {})  # type: ignore[attr-defined]
    metadata["pitfall"] = case.record.model_dump(mode="json")


ADAPTER = Adapter("pytest-json-report", "json_report", _add)
