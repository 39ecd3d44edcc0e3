"""The directory: what it may be, many processes at once, killed writers, full and read-only disks."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_samples import HEADER, filled, header, record

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.store import directory as files
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import ModelName
from pytest_editpitfalls.store.maintenance import check

HERE = Path(__file__).parent


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """Run ``code`` in a process of its own, with the samples at hand."""
    prelude = "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\nfrom store_samples import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code), str(HERE), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_a_new_store_ignores_itself_and_says_its_format(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store"
    Store.open(path)
    assert (path / ".gitignore").read_text() == "*\n"
    assert json.loads((path / "store.json").read_text())["format"] == 3
    assert sorted(each.name for each in path.iterdir()) == [".gitignore", "store.json"]
    filled(path)
    again = Store.open(path, create=False)
    assert again.get(record(2).key) == record(2)
    assert again.get(record(3).key) is None
    assert (again.broken, again.not_kept, again.problem) == (0, 0, None)
    assert again.headers() == [HEADER]
    assert again.record_keys() == sorted(record(number).key for number in range(3))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    (tmp_path / "npm").mkdir()
    (tmp_path / "npm" / "store.json").write_text('{"name": "shop"}')
    for name, other in {"older": "1", "newer": "4"}.items():
        Store.open(tmp_path / name)
        marker = tmp_path / name / "store.json"
        marker.write_text(marker.read_text().replace("3", other))
    for name, words in {
        "file": "is not a directory",
        "file/store": "is not a directory",
        "other": "something else in it (thesis.tex)",
        "npm": "something else in it (store.json)",
        "older": "has format 1",
        "newer": "has format 4",
    }.items():
        with pytest.raises(UsageError) as caught:
            Store.open(tmp_path / name)
        assert words in str(caught.value)
        assert "fix: " in str(caught.value)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "x"
    with pytest.raises(UsageError, match="there is no store"):
        Store.open(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("left", [b"", b'{"kind": "pyt', b"\xff\x00", b"[" * 100_000, None])
def test_a_damaged_marker_loses_nothing(tmp_path: Path, left: bytes | None) -> None:
    path = filled(tmp_path / "store").path
    marker = path / "store.json"
    whole = marker.read_bytes()
    marker.unlink()
    if left is not None:
        marker.write_bytes(left)
    assert Store.open(path).get(record().key) == record()
    assert marker.read_bytes() == whole


def test_a_batch_is_on_the_disk_when_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record's bytes before it is put in place, then its folder; and the header has the time of the last one."""
    store = filled(tmp_path / "store", cases=0)
    os.utime(store.header_path(HEADER.key), (0, 0))
    confirmed: list[str] = []
    real = os.fsync

    def counting(handle: int) -> None:
        real(handle)
        confirmed.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", counting)
    batch = [record(number) for number in range(2 * files.WRITERS + 3)]
    store.put_all(batch)
    assert confirmed.count("file") == len(batch)
    assert confirmed.count("folder") >= len(batch)
    assert all(store.get(each.key) == each for each in batch)
    assert store.not_kept == 0
    assert abs(store.last_written(HEADER.key) - time.time()) < 60
    store.put_all([])
    store.put_all(batch[:1])  # the same threads
    assert store.get(batch[0].key) == batch[0]


def test_keys_cannot_lead_out_of_the_store(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    secret = tmp_path / "secret.json"
    secret.write_bytes(store.record_path(record().key).read_bytes())
    for key in ("../../secret", "..", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63, "é" * 64):
        with pytest.raises(ValueError, match="is not a key"):
            store.get(key)
        with pytest.raises(ValueError, match="is not a key"):
            store.header(key)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes and links here")
def test_links_pipes_and_folders_in_place_of_a_record_are_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    path = store.record_path(record().key)
    elsewhere = tmp_path / "elsewhere.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert store.get(record().key) is None
    path.unlink()
    os.mkfifo(path)
    started = time.monotonic()
    assert store.get(record().key) is None  # and nobody waits for the pipe's other end
    assert time.monotonic() - started < 5
    path.unlink()
    path.mkdir()
    assert store.get(record().key) is None
    assert store.broken == 3
    path.rmdir()
    elsewhere.rename(path)
    assert store.get(record().key) == record()


def test_an_error_does_not_take_the_place_of_a_result(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert store.put(record(probes=(), error="out of memory"))
    first = store.get(record().key)
    assert first is not None
    assert first.is_error
    assert store.put(record())
    assert store.put(record(probes=(), error="out of memory"))
    assert store.get(record().key) == record()
    store.record_path(record().key).write_bytes(b"damaged")
    assert store.put(record(probes=(), error="out of memory"))
    again = store.get(record().key)
    assert again is not None
    assert again.is_error


def test_a_header_gathers_names_and_keeps_the_fuller_description(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert store.put_header(HEADER)
    prepared = HEADER.with_description({"editor": {"context_templates": ["{}", "The {}"]}})
    assert store.put_header(prepared, prepared=True)
    other = header(models=(ModelName(label="copy", source="models/copy"),), description={"seconds": 1})
    assert other.key == HEADER.key
    assert Store.open(store.path).put_header(other)
    (found,) = store.headers()
    assert [name.label for name in found.models] == ["copy", "tiny"]
    assert found.description == prepared.description
    written = store.header_path(HEADER.key).stat()
    assert Store.open(store.path).put_header(HEADER)
    assert store.header_path(HEADER.key).stat().st_ino == written.st_ino  # nothing new, nothing written
    store.header_path(HEADER.key).unlink()
    assert store.put_header(prepared, prepared=True)  # pruned by another process meanwhile
    assert store.headers() == [prepared]


def test_many_processes_write_one_store(tmp_path: Path) -> None:
    code = """
        from pytest_editpitfalls.store.directory import Store
        store = Store.open(Path(sys.argv[2]))
        first = int(sys.argv[3])
        for number in range(60):
            of = header(seed=number % 3)
            assert store.put_header(of)
            assert store.put(record(first + number, of))
            found = store.get(record(number % 20, of).key)
            assert found is None or found == record(number % 20, of)
        assert store.broken == store.not_kept == 0 and store.problem is None
    """
    processes = [start(code, tmp_path / "store", first) for first in (0, 0, 20, 40)]
    for process in processes:
        output(process)
    store = Store.open(tmp_path / "store", create=False)
    report = check(store)
    assert (report.headers, report.broken, report.temporary) == (3, [], [])
    wanted = {record(first + number, header(seed=number % 3)).key for first in (0, 20, 40) for number in range(60)}
    assert set(store.record_keys()) == wanted
    assert report.records == len(wanted)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_writer_killed_at_any_moment_leaves_no_half_record(tmp_path: Path) -> None:
    code = """
        from pytest_editpitfalls.store.directory import Store
        store = Store.open(Path(sys.argv[2]))
        store.put_header(HEADER)
        print("go", flush=True)
        for number in range(10**9):
            store.put(record(number % 7, values=(0.123456789,) * 40_000))
    """
    for moment in (0.0, 0.05, 0.11, 0.23):
        process = start(code, tmp_path / "store")
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(moment)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        store = Store.open(tmp_path / "store")
        assert check(store).broken == []
        found = [store.get(key) for key in store.record_keys()]
        wanted = {record(number, values=(0.123456789,) * 40_000).key for number in range(7)}
        assert {each.key for each in found if each is not None} <= wanted
        assert None not in found


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_writer_killed_inside_of_a_write(tmp_path: Path, step: str) -> None:
    store = filled(tmp_path / "store", cases=1)
    code = f"""
        import os
        from pytest_editpitfalls.store.directory import Store
        store = Store.open(Path(sys.argv[2]))
        {step} = lambda *args: os.kill(os.getpid(), 9)
        store.put(record(0, seconds=9.0))
    """
    process = start(code, store.path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(store.temporary_files()) == 1
    assert store.record_keys() == [record().key]
    assert store.get(record().key) == record()  # the one that was there, whole
    assert store.put(record(0, seconds=9.0))


def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    assert resource.RLIMIT_FSIZE
    store = filled(tmp_path / "store", cases=1)
    code = """
        import resource
        from pytest_editpitfalls.store.directory import Store
        store = Store.open(Path(sys.argv[2]))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        assert not store.put(record(1)) and not store.put(record(2))
        assert store.get(record(0).key) == record(0)
        print(store.not_kept, store.problem)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.put(record(3))
    """
    out = output(start(code, store.path))
    assert out.startswith("2 the store ")
    assert "cannot be written: File too large" in out
    assert "free some space" in out
    assert store.temporary_files() == []
    assert set(store.record_keys()) == {record(0).key, record(3).key}
    assert check(store).broken == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False)
        if sys.platform == "linux"
        else None
    )
    if made is None or made.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_for_real(small_disk: Path) -> None:
    store = Store.open(small_disk / "store")
    assert store.put_header(HEADER)
    kept = [number for number in range(200) if store.put(record(number))]
    assert 1 <= len(kept) < 200
    assert store.not_kept == 200 - len(kept)
    assert store.problem is not None
    assert "No space left on device" in store.problem
    for number in range(200):
        assert store.get(record(number).key) == (record(number) if number in kept else None)
    assert store.broken == 0
    assert store.temporary_files() == []


def test_a_disk_that_is_read_only_for_real(small_disk: Path) -> None:
    store = filled(small_disk / "store", cases=1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    again = Store.open(small_disk / "store")
    assert again.get(record().key) == record()
    assert not again.put(record(1))
    assert not again.put_header(header(seed=1))
    assert again.not_kept == 1
    assert again.problem is not None
    assert "Read-only file system" in again.problem
    assert "make it writable" in again.problem
    fresh = Store.open(small_disk / "new")
    assert fresh.problem is not None
    assert fresh.get(record().key) is None
    assert store.record_keys() == [record().key]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that other users can look into; pytest's own ones are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no users here")
def test_a_store_of_somebody_else(open_folder: Path) -> None:
    store = filled(open_folder / "store", cases=1)
    closed = filled(open_folder / "closed", cases=1)
    folders = [store.path / "headers", *(store.path / "records").iterdir(), store.path / "records"]
    code = """
        import os
        from pytest_editpitfalls.store.directory import Store
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        store = Store.open(Path(sys.argv[2]) / "store")
        assert store.get(record().key) == record()
        assert store.problem is None
        assert not store.put(record(1)) and store.not_kept == 1
        print(store.problem)
        closed = Store.open(Path(sys.argv[2]) / "closed")
        print(closed.problem)
        assert closed.get(record().key) is None
    """
    try:
        for each in (*folders, store.path):
            each.chmod(0o555)
        closed.path.chmod(0)
        out = output(start(code, open_folder))
    finally:
        for each in (closed.path, store.path, *folders):
            each.chmod(0o755)
    one, two = out.splitlines()
    assert "Permission denied" in one
    assert "Permission denied" in two
    assert store.record_keys() == [record().key]
