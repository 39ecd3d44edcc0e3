"""Files that users name for writing: found to be wrong early, written through links and into pipes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_editpitfalls import outputs
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.outputs import STANDARD_OUTPUT, check_writable, is_standard_output, refuse_shared, write_text

posix = pytest.mark.skipif(os.name == "nt", reason="links, pipes and devices of a POSIX system")


@pytest.mark.parametrize(
    ("path", "what"),
    [("absent/results.json", "does not exist"), (".", "is a directory")],
)
def test_unwritable_paths_are_found_early(tmp_path: Path, path: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        check_writable(tmp_path / path, where="--out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_directory_is_found_early(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot write"):
            check_writable(tmp_path / "results.json", where="--out")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_device_is_found_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", fail)
    with pytest.raises(UsageError, match="Read-only file system"):
        check_writable(tmp_path / "results.json", where="--out")


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "results.json", where="--out")
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_circle_a_file_and_a_long_name_are_found_early(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for path, what in (
        ("circle", r"cannot write '.*circle': Too many levels of symbolic links"),
        ("circle/x.json", "Too many levels of symbolic links"),
        ("file/x.json", "'.*file' is a file, not a directory"),
        ("file/deeper/x.json", "'.*file' is a file, not a directory"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UsageError, match=what):
            check_writable(tmp_path / path, where="--out")
        with pytest.raises(UsageError, match=what):
            write_text("x", tmp_path / path, where="--out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["circle", "file"]


@posix
def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    check_writable(path, where="--out")
    write_text("text", path, where="--out")
    assert path.read_text() == "text"


@posix
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name, target in (("link", "real/file"), ("dangling", "real/new"), ("chain", "link")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "real" / "file").write_text("old")
    (tmp_path / "real" / "file").chmod(0o640)
    for name in ("link", "dangling", "chain"):
        check_writable(tmp_path / name, where="--out")
        write_text(name, tmp_path / name, where="--out")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == name
    assert stat.S_IMODE((tmp_path / "real" / "file").stat().st_mode) == 0o640
    assert sorted(entry.name for entry in (tmp_path / "real").iterdir()) == ["file", "new"]
    (tmp_path / "nowhere").symlink_to("absent/file")
    with pytest.raises(UsageError, match=r"the directory '.*absent' does not exist"):
        check_writable(tmp_path / "nowhere", where="--out")


@posix
def test_a_device_is_written_into(tmp_path: Path) -> None:
    before = os.stat(os.devnull)
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (Path(os.devnull), tmp_path / "null"):
        check_writable(path, where="--out")
        write_text("text", path, where="--out")
    assert os.stat(os.devnull).st_ino == before.st_ino
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@posix
def test_a_pipe_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe, where="--out")  # without a reader: it may come later
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    check_writable(pipe, where="--out")  # must not be the end of the reader's file
    write_text("text" * 100_000, pipe, where="--out")
    reader.join(timeout=10)
    assert found == ["text" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    monkeypatch.setattr(outputs, "PATIENCE", 0.1)
    with pytest.raises(UsageError, match="nobody reads from this pipe"):
        write_text("text", pipe, where="--out")


@posix
@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd")
def test_a_file_that_is_open_already_goes_on_where_it_is(tmp_path: Path) -> None:
    """``3>> file`` and process substitution: to open such a file again would write over its beginning."""
    file = tmp_path / "file"
    with file.open("w") as stream:
        stream.write("begins ")
        stream.flush()
        path = Path(f"/dev/fd/{stream.fileno()}")
        (tmp_path / "link").symlink_to(path)
        check_writable(path, where="--out")
        write_text("goes on ", path, where="--out")
        write_text("ends", tmp_path / "link", where="--out")
    assert file.read_text() == "begins goes on ends"
    with file.open() as stream, pytest.raises(UsageError, match="is not open for writing"):
        check_writable(Path(f"/dev/fd/{stream.fileno()}"), where="--out")
    with pytest.raises(UsageError, match="descriptor 987654 is not open for writing"):
        check_writable(Path("/dev/fd/987654"), where="--out")


@posix
def test_process_substitution(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pytest_editpitfalls.outputs import check_writable, write_text\n"
        "path = Path(sys.argv[1]); check_writable(path, where='x'); write_text('a\\nb\\n', path, where='x')"
    )
    script = f'{sys.executable} -c "{code}" >(sort -r > "{tmp_path}/sorted"; echo > "{tmp_path}/done")'
    subprocess.run(
        ["bash", "-c", f"{script}; until [ -e {tmp_path}/done ]; do sleep 0.05; done"], check=True, timeout=60
    )
    assert (tmp_path / "sorted").read_text() == "b\na\n"


def test_standard_output(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert not is_standard_output(tmp_path / "-")
    check_writable(STANDARD_OUTPUT, where="--out")
    write_text("東\n", STANDARD_OUTPUT, where="--out")
    assert capsysbinary.readouterr().out == "東\n".encode()
    if os.name != "nt":
        for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            assert is_standard_output(Path(name))


def test_two_outputs_on_one_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    pairs = [(tmp_path / "a", tmp_path / "." / "a"), (tmp_path / "new", tmp_path / "x" / ".." / "new")]
    (tmp_path / "x").mkdir()
    pairs.append((STANDARD_OUTPUT, STANDARD_OUTPUT))
    if os.name != "nt":
        (tmp_path / "link").symlink_to("a")
        (tmp_path / "hard").hardlink_to(tmp_path / "a")
        (tmp_path / "dangling").symlink_to("new")
        pairs += [(tmp_path / "a", tmp_path / "link"), (tmp_path / "hard", tmp_path / "a")]
        pairs += [(tmp_path / "new", tmp_path / "dangling"), (STANDARD_OUTPUT, Path("/dev/stdout"))]
    for one, other in pairs:
        with pytest.raises(UsageError, match=r"^--one and --other: both would be written to"):
            refuse_shared([("--one", one), ("--other", other)])
    for one, other in pairs[:2]:
        with pytest.raises(UsageError, match=r"^--out: .* would be written over: it is read \(--config\)"):
            refuse_shared([("--out", one)], [("--config", other)])
    refuse_shared([("--one", tmp_path / "a"), ("--other", tmp_path / "b")], [("--in", tmp_path / "c")])
    refuse_shared([("--one", Path(os.devnull)), ("--other", Path(os.devnull))])
