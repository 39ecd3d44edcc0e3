"""Files of up to 300 MB, read in a process whose memory is measured: it may not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.knowledge_samples import item, make_relations

FACTS = 2_000
AT_MOST = 200
"""MiB above what Python and the package take, much of it the index's cache; a file that is kept takes several times its
size."""

READ = """
import json, resource, sys
from pathlib import Path
from pytest_editpitfalls.knowledge import load_knowledge
from pytest_editpitfalls.knowledge.readers import read_facts
import scipy.sparse.csgraph

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)

before = peak()
knowledge = load_knowledge([Path(sys.argv[1])], Path(sys.argv[2]))
print(json.dumps({"facts": len(knowledge), "left_out": knowledge.report.left_out.total(), "grown": peak() - before}))
"""


def csv_lines() -> Iterator[str]:
    yield "subject,relation,object,subject_aliases,source\n"
    for number in range(1 << 40):
        yield f"country {number},{'P36' if number < FACTS else 'P999'},city {number},land {number}|realm {number},geo\n"


def n_triples() -> Iterator[str]:
    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    for number in range(1 << 40):
        country, city = (f"<http://www.wikidata.org/entity/Q{2 * number + kind}>" for kind in (1, 2))
        yield f'{country} {label} "country {number}"@en .\n'
        yield f'{city} {label} "city {number}"@en .\n'
        yield f'{city} {label} "Stadt {number}"@de .\n'
        relation = "P36" if number < FACTS else "P999"
        yield f"{country} <http://www.wikidata.org/prop/direct/{relation}> {city} .\n"


def wikidata() -> Iterator[str]:
    yield "[\n"
    for number in range(1 << 40):
        claims: dict[str, Any] = {"P36" if number < FACTS else "P999": [f"Q{2 * number + 2}"]}
        yield json.dumps(item(f"Q{2 * number + 1}", f"country {number}", sitelinks=9, **claims)) + ",\n"
        yield json.dumps(item(f"Q{2 * number + 2}", f"city {number}", aliases=(f"town {number}",))) + ",\n"


FORMS: dict[str, Callable[[], Iterator[str]]] = {"csv": csv_lines, "nt": n_triples, "json": wikidata}


@pytest.mark.parametrize(("form", "size"), [("csv", 100_000_000), ("nt", 300_000_000), ("json", 100_000_000)])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str, size: int) -> None:
    path = tmp_path / f"large.{form}"
    written = lines = 0
    with path.open("w") as file:
        for line in FORMS[form]():
            written += file.write(line)
            lines += 1
            if written > size:
                break
        file.write("null\n]\n" if form == "json" else "")
    relations = make_relations(tmp_path).source
    found = subprocess.run([sys.executable, "-c", READ, path, relations], capture_output=True, text=True, check=False)
    path.unlink()
    assert not found.returncode, found.stderr
    result = json.loads(found.stdout)
    assert result["facts"] == FACTS
    assert result["grown"] < AT_MOST
    others = {"csv": lines - 1 - FACTS, "nt": lines // 4 - FACTS, "json": lines // 2 - FACTS}[form]
    assert abs(result["left_out"] - others) < 3, "every record is accounted for"
