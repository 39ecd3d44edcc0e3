"""``editpitfalls store``: list, check, prune and merge, on real stores through the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_samples import HEADER, filled, header, record
from typer.testing import CliRunner, Result

from pytest_editpitfalls.cli.store import store_app
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import ModelName
from pytest_editpitfalls.store.maintenance import check, listing, merge, prune

DAY = 86400.0


def command(*args: object, status: int = 0, columns: int = 200) -> Result:
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(store_app, [str(arg) for arg in args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done


def aged(path: Path, days: float) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))


def files(store: Store) -> dict[str, bytes]:
    return {
        path.relative_to(store.path).as_posix(): path.read_bytes() for path in store.path.rglob("*") if path.is_file()
    }


def test_list(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=3, headers=[HEADER, header(editor="memit")])
    slower = header(hyperparameters=HEADER.hyperparameters | {"v_lr": 0.25}, once="some run")
    assert store.put_header(slower)
    assert store.put(record(0, slower, probes=(), error="diverged"))
    assert store.put(record(1, slower, probes=(), skipped="no tokens"))
    aged(store.header_path(HEADER.key), 9)
    for number in range(3):
        aged(store.record_path(record(number).key), 5 + number)
    rows = {row["key"]: row for row in json.loads(command("list", "--json", "--store", store.path).stdout)}
    assert set(rows) == {HEADER.key, header(editor="memit").key, slower.key}
    assert list(rows)[-1] == HEADER.key  # the newest first
    first, last = rows[HEADER.key], rows[slower.key]
    assert (first["cases"], first["errors"], first["skipped"]) == ({"reverse": 3}, 0, 0)
    assert (last["cases"], last["errors"], last["skipped"]) == ({"reverse": 2}, 1, 1)
    assert last["differs"] == {"v_lr": "0.25", "once": "some run"}
    assert rows[header(editor="memit").key]["differs"] == {}
    assert first["models"] == [{"label": "tiny", "source": "models/tiny"}]
    assert first["fingerprint"] == "f" * 64
    assert abs(first["last_written"] - (time.time() - 5 * DAY)) < 60
    own = [store.header_path(HEADER.key), *(store.record_path(record(number).key) for number in range(3))]
    assert first["bytes"] == sum(path.stat().st_size for path in own)
    text = command("list", "--store", store.path).stdout
    for word in (
        HEADER.key[:12],
        "memit",
        "v_lr 0.25",
        "reverse 3",
        "1 error",
        "1 skipped",
        "f" * 12,
        "replay only",
    ):
        assert word in text
    narrow = command("list", "--store", store.path, columns=80).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    said = " ".join(narrow.split())
    assert f"{HEADER.key[:12]} {HEADER.editor} on tiny {'f' * 12}, seed 0, float32 reverse 3;" in said
    assert "reverse 2, 1 error, 1 skipped;" in said
    assert "differs in v_lr 0.25, once some run" in said


def test_list_shows_labels_and_does_not_obey_them(tmp_path: Path) -> None:
    evil = (ModelName(label="\x1b[2J[bold]x[/]", source="x"),)
    store = filled(tmp_path / "store", headers=[header(models=evil)])
    text = command("list", "--store", store.path).stdout
    assert "\x1b" not in text
    assert "\\x1b[2J[bold]x[/]" in text


def test_a_record_without_its_header_is_listed_and_no_error(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=2)
    store.header_path(HEADER.key).unlink()
    (row,) = listing(store)
    assert (row.key, row.header, dict(row.cases)) == (HEADER.key, None, {"reverse": 2})
    assert "header missing" in command("list", "--store", store.path).stdout
    assert len(check(store).without_header) == 2
    assert "its run header is missing" in command("check", "--store", store.path).stdout


def test_check(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=3)
    good = command("check", "--store", store.path).stdout
    assert good == "1 run(s) and 3 record(s) are sound, 0 files broken\n"
    path = store.record_path(record(1).key)
    path.write_bytes(path.read_bytes()[:-7])
    store.header_path("0" * 64).write_text("{}")
    bad = command("check", "--store", store.path, status=1).stdout.replace("\n", " ")
    assert f"broken: {path}" in bad
    assert f"broken: {store.header_path('0' * 64)}" in bad
    assert "1 run(s) and 2 record(s) are sound, 2 files broken" in bad


def test_prune_what_is_broken_and_unfinished(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=3)
    before = files(store)
    store.record_path(record(1).key).write_bytes(b"x")
    store.header_path("0" * 64).write_text("{}")
    old, new = store.path / "records" / ".a.1.tmp", store.path / "headers" / ".b.2.tmp"
    for path in (old, new):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    aged(old, 1)
    old.rename(store.record_path(record(0).key).parent / old.name)
    said = command("prune", "--broken", "--dry-run", "--store", store.path).stdout
    assert said == "2 broken file(s), 1 unfinished file(s) would be removed, 7 bytes\n"
    assert len(files(store)) == len(before) + 3
    assert (
        "2 broken file(s), 1 unfinished file(s) removed" in command("prune", "--broken", "--store", store.path).stdout
    )
    left = files(store)
    assert left.pop("headers/.b.2.tmp") == b"half"  # somebody may be writing it
    assert left.keys() == before.keys() - {store.record_path(record(1).key).relative_to(store.path).as_posix()}
    assert command("check", "--store", store.path).exit_code == 0


def test_prune_one_run(tmp_path: Path) -> None:
    other = header(seed=1)
    store = filled(tmp_path / "store", headers=[HEADER, other])
    before = files(filled(tmp_path / "only", headers=[HEADER]))
    command("prune", f"--run={other.key[:12]}", "--store", store.path)
    assert files(store) == before
    with pytest.raises(UsageError, match="no stored run begins with"):
        command("prune", "--run", other.key[:12], "--store", store.path)
    store.header_path(HEADER.key).unlink()
    assert prune(store, headers=[HEADER.key[:8]]).records == 3  # by what the records say


def test_prune_all_but_the_newest_of_each_editor_and_model(tmp_path: Path) -> None:
    elsewhere = (ModelName(label="other", source="other"),)
    runs = {
        "old": HEADER,
        "new": header(seed=1),
        "other model": header(seed=2, models=elsewhere, fingerprint="0" * 64),
        "other editor": header(editor="rome+mle"),
    }
    store = filled(tmp_path / "store", headers=list(runs.values()))
    aged(store.header_path(HEADER.key), 3)
    aged(store.header_path(runs["other model"].key), 9)
    done = prune(store, keep_newest=True)
    assert (done.headers, done.records) == (1, 3)
    assert set(store.header_keys()) == {each.key for name, each in runs.items() if name != "old"}
    assert len(store.record_keys()) == 9
    assert check(store).without_header == []


def test_prune_by_age(tmp_path: Path) -> None:
    other = header(seed=1)
    store = filled(tmp_path / "store", headers=[HEADER, other])
    for number in range(3):
        aged(store.record_path(record(number).key), 40)
    aged(store.record_path(record(0, other).key), 40)
    done = prune(store, older_than_days=41)
    assert (done.headers, done.records, done.bytes) == (0, 0, 0)
    done = prune(store, older_than_days=30, dry_run=True)
    assert (done.headers, done.records) == (1, 4)
    assert len(store.record_keys()) == 6
    assert "1 run(s), 4 record(s) removed" in command("prune", "--older-than=30", "--store", store.path).stdout
    assert store.header_keys() == [other.key]
    assert set(store.record_keys()) == {record(number, other).key for number in (1, 2)}


def test_prune_needs_to_be_told_what(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    before = files(store)
    with pytest.raises(UsageError, match="nothing says what to remove"):
        command("prune", "--store", store.path)
    for days in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="is no number of days"):
            prune(store, older_than_days=days)
    command("prune", "--older-than=soon", "--store", store.path, status=2)
    assert files(store) == before


def test_merge_shards(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", cases=6)
    shards = []
    for shard in range(2):
        store = Store.open(tmp_path / f"shard-{shard}")
        assert store.put_header(HEADER)
        assert all(store.put(record(number)) for number in range(shard, 6, 2))
        shards.append(store)
    aged(shards[1].record_path(record(1).key), 7)
    target = tmp_path / "merged"
    said = command("merge", shards[0].path, shards[1].path, "--store", target).stdout
    assert "1 run(s) and 3 record(s) copied" in said
    assert "0 run(s) and 3 record(s) copied" in said
    merged = Store.open(target, create=False)
    assert files(merged) == files(whole)
    assert time.time() - merged.record_path(record(1).key).stat().st_mtime > 6 * DAY
    done = merge(merged, shards[0])
    assert (done.headers, done.records, done.present, done.broken) == (0, 0, 3, [])


def test_merge_leaves_damage_behind_and_heals_it(tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here", cases=3), filled(tmp_path / "there", cases=3)
    here.record_path(record(0).key).write_bytes(b"x")
    there.record_path(record(1).key).write_bytes(b"x")
    there.record_path(record(2).key).unlink()
    assert there.put(record(2, probes=(), error="out of memory"))
    here.record_path(record(2).key).unlink()
    assert here.put(record(2, probes=(), error="diverged"))
    assert there.put(record(3, notes=("\u00e9",)))
    done = merge(here, there)
    assert done.records == 2
    assert done.broken == [there.record_path(record(1).key)]
    assert [here.get(record(number).key) for number in (0, 1, 3)] == [
        record(0),
        record(1),
        record(3, notes=("\u00e9",)),
    ]
    assert there.put(record(2))
    assert merge(here, there).records == 1
    assert here.get(record(2).key) == record(2)  # a result in place of an error
    back = merge(there, here)
    assert back.records == 1
    assert there.get(record(1).key) == record(1)
    assert check(there).broken == []


def test_merge_gathers_names_of_the_model(tmp_path: Path) -> None:
    other = header(models=(ModelName(label="copy", source="elsewhere/copy"),))
    here, there = filled(tmp_path / "here"), filled(tmp_path / "there", headers=[other])
    merge(here, there)
    (found,) = here.headers()
    assert [name.label for name in found.models] == ["copy", "tiny"]


def test_merge_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    with pytest.raises(UsageError, match="with itself"):
        command("merge", store.path, "--store", store.path)
    with pytest.raises(UsageError, match="there is no store"):
        command("merge", tmp_path / "absent", "--store", store.path)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("name", ["list", "check", "prune"])
def test_a_store_that_is_not_there(tmp_path: Path, name: str) -> None:
    more = ["--broken"] if name == "prune" else []
    with pytest.raises(UsageError, match="there is no store"):
        command(name, *more, "--store", tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_the_command_as_the_shell_sees_it(tmp_path: Path) -> None:
    store = filled(tmp_path / ".pitfalls", cases=2)

    def shell(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest_editpitfalls.cli.app", "store", *args],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    listed = shell("list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [row["key"] for row in json.loads(listed.stdout)] == [HEADER.key]
    store.record_path(record().key).write_bytes(b"x")
    assert shell("check").returncode == 1
    wrong = shell("prune")
    assert wrong.returncode == 4
    assert wrong.stderr.startswith("ERROR: ")
    assert "Traceback" not in wrong.stderr
    assert shell("prune", "--no-such-option").returncode == 4
