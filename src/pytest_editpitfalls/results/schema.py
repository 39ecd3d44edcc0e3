"""The JSON Schema of the result file: ``python -m pytest_editpitfalls.results.schema`` prints it."""

from __future__ import annotations

import json
from typing import Any

from .records import SCHEMA_VERSION, RunResults


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what `--pitfalls-json` writes."""
    schema = RunResults.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-editpitfalls results, schema version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the schema as the text of docs/results.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
