"""The source of an editor in somebody's checkout: a changed checkout is another editor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.outside.collection import outside_editor
from pytest_editpitfalls.store import imports
from pytest_editpitfalls.store.sources import editor_source_digest, package_source_digest

FILES = {
    "easyeditor/util/alg_dict.py": (
        "from ..models.fine import FineHyperParams, apply_fine\nALG_DICT = {'FINE': apply_fine}\n"
    ),
    "easyeditor/models/fine.py": (
        "import elsewhere\nfrom .step import step\nclass FineHyperParams:\n    pass\n"
        "def apply_fine(model, tok, requests, hparams: FineHyperParams):\n    from .late import late\n    late(step)\n"
    ),
    "easyeditor/models/step.py": "step = 1\n",
    "easyeditor/models/late.py": "late = print\n",
    "easyeditor/models/other.py": "exec('import no_such_package')\n",
    "globals.yml": "STATS_DIR: data/stats\n",
    "hparams/FINE/llama.yaml": "layers: [1]\n",
    "README.md": "read me\n",
}
ROME = {
    "experiments/evaluate.py": "from rome import apply\nALG_DICT = {'ROME': apply}\n",
    "rome/__init__.py": "from util.words import words\ndef apply(model, tok, requests):\n    words\n",
    "util/words.py": "words = 1\n",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to import from beside the checkout."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "elsewhere.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(home)
    yield home / "elsewhere.py"
    EDITORS.forget_added()
    sys.modules.pop("elsewhere", None)


def laid_out(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def digest(path: str, folder: Path) -> str | None:
    """As a new process takes it."""
    package_source_digest.cache_clear()
    imports._distributions_by_name.cache_clear()
    EDITORS.forget_added()
    EDITORS.add("own", outside_editor(path, {path.partition(":")[0]: folder}, where="--editor"), origin="a test")
    return editor_source_digest("own")


@pytest.mark.parametrize("changed", ["models/fine.py", "models/step.py", "models/late.py", "util/alg_dict.py"])
def test_every_module_of_the_checkout_counts(tmp_path: Path, changed: str) -> None:
    checkout = laid_out(tmp_path / "EasyEdit", FILES)
    before = digest("easyedit:FINE", checkout)
    assert before is not None
    assert digest("easyedit:FINE", laid_out(tmp_path / "moved", FILES)) == before
    with (checkout / "easyeditor" / changed).open("a") as file:
        file.write("y = 2\n")
    assert digest("easyedit:FINE", checkout) != before


def test_what_stands_beside_the_code(tmp_path: Path, elsewhere: Path) -> None:
    checkout = laid_out(tmp_path / "EasyEdit", FILES)
    before = digest("easyedit:FINE", checkout)
    for name in ("README.md", "hparams/FINE/llama.yaml"):  # what a run reads of hparams/ is a hyper-parameter
        (checkout / name).write_text("x: 1\n")
        assert digest("easyedit:FINE", checkout) == before
    (checkout / "globals.yml").write_text("STATS_DIR: other\n")
    assert digest("easyedit:FINE", checkout) != before
    laid_out(checkout, FILES)
    elsewhere.write_text("x = 2\n")
    assert digest("easyedit:FINE", checkout) != before


def test_modules_that_name_one_another_in_full(tmp_path: Path) -> None:
    checkout = laid_out(tmp_path / "rome", ROME)
    before = digest("rome:ROME", checkout)
    assert before is not None  # util is the checkout's, not an unknown module
    (checkout / "util" / "words.py").write_text("words = 2\n")
    assert digest("rome:ROME", checkout) != before


def test_code_that_is_put_together_when_it_runs_is_never_stored_for_another_run(tmp_path: Path) -> None:
    files = {**FILES, "easyeditor/models/step.py": "step = 1\nexec('step = 2')\n"}
    assert digest("easyedit:FINE", laid_out(tmp_path / "EasyEdit", files)) is None
