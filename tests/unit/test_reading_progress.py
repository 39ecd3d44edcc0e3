"""How far the reading of large files is, as it is shown."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from rich.console import Console
from unit.knowledge_samples import make_relations

from pytest_editpitfalls.cli.progress import ReadingProgress
from pytest_editpitfalls.knowledge import load_knowledge


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*, terminal: bool, name: str = "dump.nt") -> str:
    """Reads 2 GB in 200 s."""
    clock, screen = Clock(), io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100, color_system=None, legacy_windows=False)
    with ReadingProgress(console, clock) as progress:
        for second in range(1, 201):
            clock.now = second
            progress(Path(name), second * 10_000_000, 2_000_000_000)
            if second == 100:
                progress._bar.refresh()
    return screen.getvalue()


def test_a_bar_with_the_time_left_on_a_terminal() -> None:
    text = shown(terminal=True)
    assert "reading dump.nt" in text
    assert "1.0/2.0 GB" in text
    assert "0:01:40" in text


def test_a_line_every_half_minute_without_one() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 6
    assert lines[0] == "reading dump.nt: 15% of 2,000 MB, 2 min 44 s left"
    assert lines[-1] == "reading dump.nt: 90% of 2,000 MB, 0 min 20 s left"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_hostile_name_stays_text(terminal: bool) -> None:
    text = shown(terminal=terminal, name="[red]a\x1b[31mb.nt")
    assert "\x1b[31m" not in text
    assert "[red]a" in text


def test_small_files_show_nothing() -> None:
    screen = io.StringIO()
    with ReadingProgress(Console(file=screen, force_terminal=True), Clock()) as progress:
        progress(Path("small.csv"), 10, 10)
    assert not screen.getvalue()


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_readers_say_how_far_they_are(tmp_path: Path, form: str) -> None:
    """Of a packed file the packed bytes count: their number is known."""
    relations = make_relations(tmp_path)
    rows = [
        {"subject": f"country {number * 7919}", "relation": "P36", "object": f"city {number}"} for number in range(9000)
    ]
    path = tmp_path / f"facts.{form}"
    if form == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1000)
    else:
        text = "subject,relation,object\n" + "".join(f"{','.join(row.values())}\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    seen: list[tuple[int, int]] = []
    load_knowledge([path], relations.source, progress=lambda file, read, size: seen.append((read, size)))
    size = path.stat().st_size
    assert {total for _, total in seen} == {size}
    assert [read for read, _ in seen] == sorted(read for read, _ in seen)
    assert 0.5 * size < seen[-1][0] <= size
