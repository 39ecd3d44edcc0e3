"""Every reader of a file or text from outside, as a function of bytes: it ends well or with one clear message."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from unit.conftest import HEADER, LINES, RELATIONS, toml_value

from pytest_editpitfalls.errors import PitfallsError, UsageError

CORPUS = Path(__file__).parent / "corpus"
"""One folder per target. `seed*` are valid files, the others are inputs that once did harm or are likely to."""

BENCHMARKS = ("counterfact", "knowedit", "mquake", "peak", "ripple_edits", "wikibigedit", "zsre")
"""Forms of other benchmarks; each seed is a small file of that form with content of our own."""

FACTS = ("known.csv", "known.jsonl", "known.nt", "known.parquet", "wikidata.json", "overrides.csv")

Target = Callable[[bytes, Path], object]


def tables(values: dict[str, dict[str, Any]]) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())
        for name, table in values.items()
    )


def _own(changed: str, kind: str) -> Target:
    """The own format with one of its three files from outside; the others are as they should be."""
    header = "".join(f"{key} = {toml_value(value)}\n" for key, value in {**HEADER, "kind": kind}.items())
    files = {
        "small.toml": header,
        "relations.toml": tables(RELATIONS),
        "small.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES[kind]),
    }

    def run(data: bytes, folder: Path) -> object:
        for name, text in files.items():
            (folder / name).write_bytes(data if name == changed else text.encode())
        return _suite(folder / "small.toml")

    return run


def _published(changed: str, prompts: str) -> Target:
    def run(data: bytes, folder: Path) -> object:
        rows = {"conflict_prompts.json": "reverse_edit.json", "round_prompts.json": "easy.json"}[prompts]
        seeds = {rows: seed(rows), prompts: seed(prompts)}
        for name, content in seeds.items():
            (folder / name).write_bytes(data if name == changed else content)
        return _suite(folder / rows)

    return run


@cache
def seed(target: str) -> bytes:
    return next((CORPUS / target).glob("seed*")).read_bytes()


def _benchmark(name: str) -> Target:
    """A file of another benchmark: its edits and its suites. Some feed no kind, and say so."""

    def run(data: bytes, folder: Path) -> object:
        from pytest_editpitfalls.suites.readers import edits_of

        (folder / name).write_bytes(data)
        records = edits_of(folder / name)
        if records is not None and not records.edits:
            raise UsageError("no edits", fix="write some")
        return _suites(folder / name) if name != "wikibigedit.json" else records or _suites(folder / name)

    return run


def _suite(path: Path) -> object:
    """Load it, and go all the way to what the engine, node ids and the terminal get of it."""
    from pytest_editpitfalls.suites import load_suite

    return _checked(load_suite(path))


def _suites(path: Path) -> object:
    """The same for a file that may hold several."""
    from pytest_editpitfalls.suites import load_suites

    return [_checked(suite) for suite in load_suites([str(path)])]


def _checked(suite: Any) -> object:
    from pytest_editpitfalls.escaping import visible
    from pytest_editpitfalls.pitfalls import compile_case
    from pytest_editpitfalls.reports.explanation import edits_in_words
    from pytest_editpitfalls.results.build import facts_in_words
    from pytest_editpitfalls.verdicts.thresholds import parse_thresholds

    shown = [suite.name]
    for case in suite.cases:
        compile_case(case, multi_label=True)
        shown += [case.id, *edits_in_words(case, multi_label=True)]
        shown += [visible(fact.sentence) for fact in facts_in_words(case).values()]
    assert all(line.isprintable() for line in shown), shown
    assert len({case.id for case in suite.cases}) == len(suite.cases)
    return parse_thresholds(suite.thresholds, kind=suite.kind)


def results(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.results import read_results
    from pytest_editpitfalls.results.writer import write_results

    (folder / "results.json").write_bytes(data)
    found = read_results(folder / "results.json")
    write_results(found, folder / "again.json")
    return found


def hyper_parameters(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.options.editor_settings import read_config_file

    (folder / "config.toml").write_bytes(data)
    return read_config_file(folder / "config.toml")


def words(data: bytes, folder: Path) -> object:
    """What is typed: suites, models, thresholds, gates and overrides; each line is tried as each of them."""
    from pytest_editpitfalls.engine.models.source import resolve
    from pytest_editpitfalls.options.editor_settings import parse_overrides
    from pytest_editpitfalls.suites.discovery import expand_suites
    from pytest_editpitfalls.verdicts.thresholds import parse_gate, parse_threshold

    text = data.decode("utf-8", "surrogateescape")
    readers: tuple[Callable[[], object], ...] = (
        lambda: expand_suites([text], base=folder),
        lambda: resolve(text, cache_dir=folder),
        lambda: parse_threshold(text),
        lambda: parse_gate(text, {"reverse": "reverse"}),
        lambda: parse_overrides([text]),
    )
    refused = [error for error in map(_refusal, readers) if error is not None]
    if len(refused) == len(readers):
        raise refused[0]
    return None


def _refusal(reader: Callable[[], object]) -> Exception | None:
    try:
        reader()
    except PitfallsError as error:
        return error
    return None


def _facts(name: str) -> Target:
    """A table of facts or a dump, through everything that is made of it."""

    def run(data: bytes, folder: Path) -> object:
        from unit.knowledge_samples import make_relations

        from pytest_editpitfalls.knowledge import load_knowledge

        overrides = name == "overrides.csv"
        for other in ("known.csv", "overrides.csv"):
            (folder / other).unlink(missing_ok=True)
        if overrides:
            (folder / "known.csv").write_bytes(seed("known.csv"))
        (folder / name).write_bytes(data)
        path = folder / ("known.csv" if overrides else name)
        knowledge = load_knowledge([path], make_relations(folder).source)
        assert len(list(knowledge)) == len(knowledge) > 0
        for fact in knowledge:
            assert fact.subject.strip()
            assert fact.object.strip()
            assert knowledge.is_true(fact.relation, fact.subject, fact.object)
        knowledge.homonyms()
        return knowledge.report.lines()

    return run


def second_moment(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.engine.corpora import MomentSource, published_moment

    (folder / "moment.npz").write_bytes(data)
    return published_moment(MomentSource("npz", str(folder / "moment.npz")), 0, 4)


def _network(editor: str) -> Target:
    def load(data: bytes, folder: Path) -> object:
        import torch

        from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
        from pytest_editpitfalls.engine.hypernetworks.weights import load_weights
        from pytest_editpitfalls.engine.token_gradients import Matrix

        (folder / "network.safetensors").write_bytes(data)
        return load_weights(
            folder / "network.safetensors",
            EDITORS.get(editor).training_class().kind,
            fingerprint="abc",
            model="tiny",
            dtype="float32",
            layers=(0,),
            matrices=(Matrix("m", 2, 3),),
            network_dtype=torch.float32,
            device=torch.device("cpu"),
        )

    return load


def mend_checkpoint(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.engine.hypernetworks.checkpoint import Checkpoint

    (folder / "m.checkpoint").write_bytes(data)
    return Checkpoint.load(folder / "m.checkpoint", {"model": "abc"})


def mend_data(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.cli.network_training import _read

    (folder / "facts.jsonl").write_bytes(data)
    return _read(folder / "facts.jsonl", {})


def gguf(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.engine.models.gguf import _check_room

    (folder / "model.gguf").write_bytes(data)
    return _check_room(folder / "model.gguf", folder)


def model_config(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.engine.models import memory_estimate, resolve

    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_bytes(data)
    return memory_estimate(resolve(str(folder / "model"), cache_dir=folder), device="cpu")


def weights_header(data: bytes, folder: Path) -> object:
    """What a worker will take is told from the headers of the weights; damaged ones tell nothing."""
    from pytest_editpitfalls.engine.models.worker_memory import workers_estimate

    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_bytes(seed("model_config.json"))
    (folder / "model" / "model.safetensors").write_bytes(data)
    if (found := workers_estimate(str(folder / "model"), None, "cpu", 2, cache_dir=folder)) is None:
        raise UsageError("nothing is known", fix="load it")
    assert str(found).isprintable()
    return found.check()


def weights_index(data: bytes, folder: Path) -> object:
    from pytest_editpitfalls.engine.models.safety import INDEX, check_directory

    (folder / INDEX).write_bytes(data)
    return check_directory(folder, "model 'tiny'")


TARGETS: dict[str, Target] = {
    "small.toml": _own("small.toml", "reverse"),
    "relations.toml": _own("relations.toml", "reverse"),
    "reverse.jsonl": _own("small.jsonl", "reverse"),
    "composite.jsonl": _own("small.jsonl", "composite"),
    "coverage.jsonl": _own("small.jsonl", "coverage"),
    "round.jsonl": _own("small.jsonl", "round"),
    "reverse_edit.json": _published("reverse_edit.json", "conflict_prompts.json"),
    "easy.json": _published("easy.json", "round_prompts.json"),
    "conflict_prompts.json": _published("conflict_prompts.json", "conflict_prompts.json"),
    "round_prompts.json": _published("round_prompts.json", "round_prompts.json"),
    **{f"{name}.json": _benchmark(f"{name}.json") for name in BENCHMARKS},
    "results.json": results,
    "config.toml": hyper_parameters,
    "words.txt": words,
    "weights_index.json": weights_index,
    "model_config.json": model_config,
    "model.safetensors": weights_header,
    "facts.jsonl": mend_data,
    **{name: _facts(name) for name in FACTS},
    "moment.npz": second_moment,
    "mend.safetensors": _network("mend"),
    "rledit.safetensors": _network("rledit"),
    "mend.checkpoint": mend_checkpoint,
    "model.gguf": gguf,
}
"""Name of the file that a target reads -> the target. Some read it under another name."""


def check(target: str, data: bytes, folder: Path) -> bool:
    """Give ``data`` to a target; True where it was accepted, False where it was refused in a clear way.

    Any other exception than the one that users see comes through, and so does a message that is unfit for a terminal.
    """
    try:
        TARGETS[target](data, folder)
    except PitfallsError as error:
        text = str(error)
        assert text.replace("\n  fix: ", "").isprintable(), text
        assert "fix: " in text, text
        assert len(text) < 15_000, len(text)
        return False
    return True


def seed_of(target: str) -> bytes:
    """A valid input; those that are not text are made here, not kept."""
    if target in (
        "moment.npz",
        "mend.safetensors",
        "rledit.safetensors",
        "mend.checkpoint",
        "model.gguf",
        "model.safetensors",
        "known.parquet",
    ):
        return _binary_seed(target)
    return seed(target)


@cache
def _binary_seed(target: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / target
        _binary_seeds()[target](path)
        return path.read_bytes()


def _binary_seeds() -> dict[str, Callable[[Path], None]]:
    return {
        "moment.npz": _moment,
        "mend.safetensors": _weights,
        "rledit.safetensors": _weights,
        "mend.checkpoint": _checkpoint,
        "model.gguf": _gguf,
        "model.safetensors": _model,
        "known.parquet": _parquet,
    }


def _parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [json.loads(line) for line in seed("known.jsonl").splitlines()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _moment(path: Path) -> None:
    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, **{"mom2.mom2": np.eye(4), "mom2.count": np.asarray(9)})
    path.write_bytes(file.getvalue())


def _weights(path: Path) -> None:
    import torch

    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
    from pytest_editpitfalls.engine.hypernetworks.weights import WeightsHeader, save_weights
    from pytest_editpitfalls.engine.token_gradients import Matrix

    matrices = (Matrix("m", 2, 3),)
    empty: dict[str, Any] = {}
    options = {"n_blocks": 1, "loss": "sum"}
    header = WeightsHeader("tiny", "abc", "float32", (0,), matrices, 2, empty, options, {}, {"edits": 1})
    kind = EDITORS.get(path.stem).training_class().kind
    save_weights(path, kind, kind.make(matrices, header, torch.float32), header)


def _checkpoint(path: Path) -> None:
    import torch

    from pytest_editpitfalls.engine.hypernetworks.checkpoint import Checkpoint

    parameter = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimiser.step()
    Checkpoint({"model": "abc"}, {"p": parameter.detach()}, optimiser.state_dict(), {"edits": 1}).save(path)


def _model(path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"model.layers.0.mlp.down_proj.weight": np.ones((2, 3), np.float32)}, path)


def _gguf(path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1, 3])
    writer.add_tensor("token_embd.weight", np.ones((2, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
