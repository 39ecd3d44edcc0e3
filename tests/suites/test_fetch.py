"""`editpitfalls suites fetch` against a server of our own: whole files with the right hash, or a clear message."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.suites import fetched, load_suites
from pytest_editpitfalls.suites.discovery import expand_suites
from pytest_editpitfalls.suites.fetched import SOURCES, RemoteFile, Source, fetched_names

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
CONTENT = {
    "/data/GPT2-XL/conflict_prompts.json": (CORPUS / "conflict_prompts.json" / "seed.json").read_bytes(),
    "/data/GPT2-XL/reverse_edit.json": (CORPUS / "reverse_edit.json" / "seed.json").read_bytes(),
}


class Server(ThreadingHTTPServer):
    """What a server has, and how it misbehaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = dict(CONTENT)
        self.ranges = True
        self.ends_after: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        data = self.server.content.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: self.server.ends_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Source:
    """A source in the place of the benchmark, of two small files."""
    files = tuple(
        RemoteFile(
            path.removeprefix("/data/"),
            len(data),
            hashlib.sha256(data).hexdigest(),
            "gpt2-xl/reverse" if "reverse" in path else "",
        )
        for path, data in CONTENT.items()
    )
    found = Source("pitfalls", "a small benchmark", "MIT", "http://127.0.0.1:9/data", files)
    monkeypatch.setitem(fetched.SOURCES, "pitfalls", found)
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    return found


@pytest.fixture
def fetch(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command; return its exit status and what it said."""

    def run(*words: str) -> tuple[int, str]:
        status = 0
        try:
            main(["suites", "fetch", *words])
        except SystemExit as left:
            status = int(left.code or 0)
        found = capsys.readouterr()
        return status, found.out + found.err

    return run


def files_in(source: Source) -> list[str]:
    return sorted(path.name for path in source.directory.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_fetched_suite_has_a_name(server: Server, source: Source, fetch: Callable[..., tuple[int, str]]) -> None:
    with pytest.raises(UsageError) as caught:
        expand_suites(["pitfalls/gpt2-xl/reverse"])
    assert "'pitfalls/gpt2-xl/reverse' has not been fetched: it is a small benchmark" in str(caught.value)
    assert "run 'editpitfalls suites fetch pitfalls' once" in str(caught.value)
    status, out = fetch("pitfalls", "--from", server.address)
    assert status == 0
    assert "pitfalls: a small benchmark, licence MIT; 2 file(s)\n" in out
    assert "--pitfalls-suite=pitfalls/gpt2-xl/reverse" in out
    assert files_in(source) == ["conflict_prompts.json", "reverse_edit.json"]
    for name in ("pitfalls/gpt2-xl/reverse", "pitfalls/gpt2-xl", "pitfalls"):
        (suite,) = load_suites([name])
        assert (suite.name, suite.kind, suite.format) == ("reverse", "reverse", "published")
    # beside the one that ships it is told apart by its folder
    assert [suite.name for suite in load_suites(["reverse", "pitfalls"])] == ["reverse", "gpt2-xl-reverse"]
    server.asked.clear()
    status, out = fetch("pitfalls", "--from", server.address)
    assert "2 file(s), 2 of them there already" in out
    assert server.asked == []


def test_the_address_comes_from_the_environment_and_may_be_a_directory(
    source: Source, fetch: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path, data in CONTENT.items():
        file = tmp_path / "mirror" / path.removeprefix("/data/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    monkeypatch.setenv("EDITPITFALLS_SUITES_URL", (tmp_path / "mirror").as_uri())
    assert fetch("pitfalls")[0] == 0
    assert files_in(source) == ["conflict_prompts.json", "reverse_edit.json"]


def test_a_damaged_file_is_brought_anew(server: Server, source: Source, fetch: Callable[..., tuple[int, str]]) -> None:
    fetch("pitfalls", "--from", server.address)
    place = source.place(source.files[1])
    place.write_bytes(place.read_bytes()[:-1] + b" ")
    status, out = fetch("pitfalls", "--from", server.address)
    assert (status, "2 file(s), 1 of them there already" in out) == (0, True)
    assert place.read_bytes() == CONTENT["/data/GPT2-XL/reverse_edit.json"]


@pytest.mark.parametrize("ranges", [True, False], ids=["goes-on", "begins-anew"])
def test_what_was_begun_is_gone_on_with(
    server: Server, source: Source, fetch: Callable[..., tuple[int, str]], ranges: bool
) -> None:
    server.ends_after = 100
    status, out = fetch("pitfalls", "--from", server.address)
    assert status == 4
    assert "the connection ended after 100 of" in out
    assert "fix: try again" in out
    assert files_in(source) == ["conflict_prompts.json.part"]
    server.ends_after, server.ranges = None, ranges
    assert fetch("pitfalls", "--from", server.address)[0] == 0
    assert ("/data/GPT2-XL/conflict_prompts.json", "bytes=100-") in server.asked
    assert files_in(source) == ["conflict_prompts.json", "reverse_edit.json"]
    assert source.place(source.files[0]).read_bytes() == CONTENT["/data/GPT2-XL/conflict_prompts.json"]


def test_a_begun_file_of_something_else_is_begun_anew(
    server: Server, source: Source, fetch: Callable[..., tuple[int, str]]
) -> None:
    part = source.place(source.files[0]).with_suffix(".json.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 50)
    assert fetch("pitfalls", "--from", server.address)[0] == 0
    assert source.place(source.files[0]).read_bytes() == CONTENT["/data/GPT2-XL/conflict_prompts.json"]


@pytest.mark.parametrize("change", [b"y", b"longer than before"])
def test_another_file_is_refused_and_not_kept(
    server: Server, source: Source, fetch: Callable[..., tuple[int, str]], change: bytes
) -> None:
    path = "/data/GPT2-XL/reverse_edit.json"
    server.content[path] = CONTENT[path][:-1] + change
    status, out = fetch("pitfalls", "--from", server.address)
    assert status == 4
    assert f"{server.address}/GPT2-XL/reverse_edit.json: the file is not the one that was published" in out
    assert source.files[1].sha256 in out
    assert files_in(source) == ["conflict_prompts.json"]
    with pytest.raises(UsageError, match="has not been fetched"):
        expand_suites(["pitfalls"])


def test_without_a_network_or_the_file(server: Server, source: Source, fetch: Callable[..., tuple[int, str]]) -> None:
    status, out = fetch("pitfalls")  # nothing listens at port 9
    assert status == 4
    assert "127.0.0.1:9/data/GPT2-XL/conflict_prompts.json: it cannot be reached: " in out
    assert f"or copy {source.directory} from a machine that has it" in out
    server.content.clear()
    status, out = fetch("pitfalls", "--from", server.address)
    assert status == 4
    assert "the server answered 404 (Not Found)" in out
    assert "Traceback" not in out


def test_what_cannot_be_fetched(
    source: Source, fetch: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, out = fetch("counterfakt")
    assert status == 4
    assert "did you mean 'counterfact'?" in out
    assert "is no address" in fetch("pitfalls", "--from", "ftp://example.org")[1]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "file"))
    assert "the cache directory cannot be written" in fetch("pitfalls")[1]


@pytest.mark.parametrize(
    ("spec", "meant"),
    [("pitfalls/gpt2-xl/revers", "pitfalls/gpt2-xl/reverse"), ("pitfals", "pitfalls"), ("revers", "reverse")],
)
def test_a_misspelt_name_is_put_right(spec: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown suite '{spec}'\n  fix: did you mean '{meant}'"):
        expand_suites([spec])


def test_the_real_sources_are_whole() -> None:
    names = fetched_names()
    for model in ("gpt2-xl", "gpt-j"):
        kinds = ("reverse", "composite", "coverage", "easy", "hard")
        assert {f"pitfalls/{model}/{kind}" for kind in kinds} <= set(names)
        assert len(names[f"pitfalls/{model}"][1]) == 5
    assert len(names["pitfalls"][1]) == 10
    assert names["counterfact"][1][0].size == 45108470
    for source in SOURCES.values():
        assert source.address.startswith("https://")
        assert all(len(file.sha256) == 64 for file in source.files)


def test_the_hashes_are_those_of_the_published_files() -> None:
    from unit.conftest import SHARED

    folder = SHARED / "data" / "pitfalls"
    if not folder.is_dir():
        pytest.skip("the published files are not present (pitfalls)")
    for file in SOURCES["pitfalls"].files:
        if (folder / file.path).is_file():
            data = (folder / file.path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
