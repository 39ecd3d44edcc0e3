"""What a run leaves behind: records, aggregates, gates and the JSON file. Pure Python."""

from .records import AggregateRecord, CaseRecord, GateRecord, RunResults
from .schema import json_schema
from .writer import read_results

__all__ = ["AggregateRecord", "CaseRecord", "GateRecord", "RunResults", "json_schema", "read_results"]
