"""Spoilt inputs: a valid file, changed by bytes, by lines, or inside of its JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NESTED: Any = json.loads("[" * 150 + "]" * 150)
HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**400, 1e308, float("inf"), float("nan"), "", " ", " a", "{}", "{", "{}{}", "%s"),
    *("\0", "\ud800", "\u202e", "\x1b[31m", "\x9b31m", "\x7f", "\n", "[red]", "<b>", "a" * 3000, "é" * 400),
    *("../x", "/etc/passwd", "C:\\x", ".", "..", "a/b", "x.bin", "P36", "France", "reverse", "round"),
    *([], [[]], {}, {"": ""}, {"id": "P36"}, ["a", "a"], NESTED),
)
TOKENS: tuple[bytes, ...] = (
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b"\t",
        b"\x1b[2J",
        b"\xc2\x9b",
        b"\\u0000",
    ),
    *(
        b"\\ud800",
        b"\\",
        b'"',
        b"'",
        b'"""',
        b"[",
        b"]",
        b"[[",
        b"]]",
        b"{",
        b"}",
        b"{}",
        b",",
        b":",
        b"=",
        b".",
    ),
    *(b"[" * 300, b'{"a":' * 300, b"a." * 300, b"9" * 5000, b"-" * 50, b"1e999", b"nan", b"inf", b"null"),
    *(
        b"0x" + b"f" * 5000,
        b"1979-05-27T07:32:00-99:99",
        b"0000-00-00",
        b"#",
        b"\\\n",
        b"x" * 5000,
        b"../",
        b"/",
    ),
)


def spoilt_bytes(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` with up to six spans cut, doubled, overwritten or widened."""
    place = st.integers(0, len(seed)) | st.integers(0, min(len(seed), 400))
    change = st.tuples(
        place, st.integers(0, 12) | place, st.sampled_from(TOKENS) | st.binary(max_size=9), st.booleans()
    )

    def apply(changes: list[tuple[int, int, bytes, bool]]) -> bytes:
        data = seed
        for start, length, new, doubled in changes:
            old = data[start : start + length]
            data = data[:start] + (old + old if doubled else new) + data[start + length :]
        return data

    return st.lists(change, min_size=1, max_size=6).map(apply)


def spoilt_lines(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` with values behind ``=``, and whole lines, exchanged for others; for TOML."""
    lines = seed.split(b"\n")
    values = st.sampled_from(HOSTILE).map(lambda value: _json(value, True)) | st.sampled_from(TOKENS)
    change = st.tuples(st.integers(0, len(lines) - 1), values, st.sampled_from(["value", "key", "line", "cut"]))

    def apply(changes: list[tuple[int, bytes, str]]) -> bytes:
        found = list(lines)
        for index, value, kind in changes:
            key, _, old = found[index].partition(b"=")
            found[index] = {
                "value": key + b"= " + value,
                "key": value + b" = " + old,
                "line": found[index] + b"\n" + value,
                "cut": b"",
            }[kind]
        return b"\n".join(found)

    return st.lists(change, min_size=1, max_size=4).map(apply)


def spoilt_json(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` (one JSON text, or one a line) with up to four values, keys or items exchanged, doubled or removed."""
    by_line = not seed.lstrip().startswith(b"[") and seed.count(b"\n") > 0 and seed.lstrip()[:2] != b"{\n"
    rows = [json.loads(line) for line in seed.splitlines()] if by_line else json.loads(seed)
    count = len(_places(rows))
    kinds = st.sampled_from(["value", "value", "remove", "key", "double"])
    change = st.tuples(st.integers(0, count - 1), st.sampled_from(HOSTILE), kinds)

    def apply(drawn: tuple[list[tuple[int, Any, str]], bool]) -> bytes:
        changes, ascii_only = drawn
        spoilt = copy.deepcopy(rows)
        for index, value, kind in changes:
            places = _places(spoilt)
            if not places:
                break
            parent, key = places[index % len(places)]
            if kind == "value":
                parent[key] = copy.deepcopy(value)
            elif kind == "remove":
                del parent[key]
            elif isinstance(parent, dict):
                parent[str(value) if kind == "key" else f"{key}2"] = parent[key]
            else:
                parent.append(copy.deepcopy(parent[key]))
        if by_line:
            return b"\n".join(_json(row, ascii_only) for row in spoilt)
        return _json(spoilt, ascii_only)

    return st.tuples(st.lists(change, min_size=1, max_size=4), st.booleans()).map(apply)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value, outermost first."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        parent = waiting.pop(0)
        if isinstance(parent, dict | list):
            pairs = list(parent.items() if isinstance(parent, dict) else enumerate(parent))
            found += [(parent, key) for key, _ in pairs]
            waiting += [child for _, child in pairs]
        if len(found) > 2000:
            break
    return found


def _json(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
