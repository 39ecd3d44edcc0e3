"""One view of a run: what every report says, as plain data and words. A report draws it and computes nothing again."""

from .baseline import baseline_counts, changed_arrows
from .cases import fact_means, fact_words, follows_edits, ordered_states, state_words
from .gates import gate_line, gate_word, relative_gate_line, state_of
from .kinds import is_better, metric_named, pitfall_of_record
from .run import RunView, differing
from .tables import Group, Row, Table
from .times import first_result_line, time_line
from .words import MARK, count, interval, percent

__all__ = [
    "MARK",
    "Group",
    "Row",
    "RunView",
    "Table",
    "baseline_counts",
    "changed_arrows",
    "count",
    "differing",
    "fact_means",
    "fact_words",
    "first_result_line",
    "follows_edits",
    "gate_line",
    "gate_word",
    "interval",
    "is_better",
    "metric_named",
    "ordered_states",
    "percent",
    "pitfall_of_record",
    "relative_gate_line",
    "state_of",
    "state_words",
    "time_line",
]
