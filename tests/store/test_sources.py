"""Digests of source code: of the engine, of packages and single files, and of what somebody's editor is made of."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.store import imports, sources
from pytest_editpitfalls.store.sources import (
    editor_source_digest,
    engine_source_digest,
    package_source_digest,
)

PLAIN = "def edit(model, tokenizer, requests):\n    return model\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to import from; what was imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    forget()
    yield tmp_path
    EDITORS.forget_added()
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", "")) + str(list(getattr(module, "__path__", ()))):
            del sys.modules[name]
    forget()


def forget() -> None:
    """Digests are taken once per process; a new process starts like this."""
    package_source_digest.cache_clear()
    engine_source_digest.cache_clear()
    imports._distributions_by_name.cache_clear()


def written(home: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()


def of_editor(value: Any, name: str = "own") -> str | None:
    forget()
    EDITORS.forget_added()
    EDITORS.add(name, value, origin="a test")
    return editor_source_digest(name)


def changes(digest: Callable[[], str | None], path: Path, text: str) -> bool:
    """Whether the digest is another one while ``path`` says ``text``."""
    forget()
    before = digest()
    assert before is not None
    old = path.read_bytes() if path.exists() else None
    path.write_text(text)
    forget()
    during = digest()
    if old is None:
        path.unlink()
    else:
        path.write_bytes(old)
    forget()
    assert digest() == before
    return during != before


def test_the_engines_own_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    package = Path(sources.__file__).parents[1]
    real = engine_source_digest()
    copy = tmp_path / "copy"
    copy.mkdir()
    for module in package.glob("*.py"):
        shutil.copy(module, copy / module.name)
    for room in ("engine", "store"):
        shutil.copytree(package / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "__file__", str(copy / "store" / "sources.py"))
    forget()
    assert engine_source_digest() == real  # wherever it is installed
    for name in (
        "engine/runner.py",
        "engine/editors/rome/presets.toml",
        "engine/editors/wise/irrelevant_prompts.txt",
        "engine/editors/new_module.py",
        "program.py",
        "matching.py",
        "probes.py",
    ):
        path = copy / name
        text = path.read_text() if path.exists() else ""
        assert changes(engine_source_digest, path, text + "# changed\n"), name
    (copy / "engine" / "__pycache__").mkdir()
    for name in ("engine/__pycache__/runner.cpython-311.pyc", "engine/.runner.py.swp", "store/directory.py"):
        assert not changes(engine_source_digest, copy / name, "# changed\n"), name


def test_what_the_engine_imports_from_elsewhere_is_in_it_where_values_depend_on_it() -> None:
    package = Path(sources.__file__).parents[1]
    no_values = {"cases/digests.py", "causes.py", "errors.py", "escaping.py", "files.py", "registry.py"}
    no_values |= {"cores.py", "openmp.py", "validation.py"}  # how fast it is, and what is said of a wrong value
    waiting = [*(package / "engine").rglob("*.py"), *(package / name for name in sources.VALUES)]
    outside = set()
    for path in waiting:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            parts = (node.module or "").split(".")
            if node.level:
                above = path.relative_to(package).parent.parts
                parts = [package.name, *above[: len(above) - node.level + 1], *parts]
            if parts[0] == package.name and parts[1:2] != ["engine"]:
                found = "/".join(parts[1:])
                names = [f"{found}.py"] if found else [f"{each.name}.py" for each in node.names]
                outside.update(name for name in names if (package / name).exists())
    assert set(sources.VALUES) <= outside
    assert outside - set(sources.VALUES) <= no_values


def test_shipped_editors_have_the_engines_source() -> None:
    assert {editor_source_digest(each.name) for each in shipped_editors()} == {engine_source_digest()}


def test_a_package_is_all_of_its_code(home: Path) -> None:
    written(
        home,
        {
            "lab/__init__.py": "",
            "lab/editors/__init__.py": "",
            "lab/editors/mine.py": PLAIN,
            "lab/maths.py": "X = 1\n",
            "lab/kernel.so": "binary",
            "lab/notes.txt": "x",
        },
    )
    digest = functools.partial(package_source_digest, "lab.editors.mine")
    assert digest() == package_source_digest("lab")
    importlib.import_module("lab.editors.mine")
    assert package_source_digest("lab.editors.mine", sys.modules["lab.editors.mine"].__file__) == digest()
    for name in ("maths.py", "editors/mine.py", "__init__.py", "editors/new.py", "kernel.so", "windows.pyd"):
        assert changes(digest, home / "lab" / name, "# changed"), name
    (home / "lab" / "__pycache__").mkdir(exist_ok=True)
    for name in ("notes.txt", "__pycache__/x.py", ".hidden.py"):
        assert not changes(digest, home / "lab" / name, "# changed"), name


def test_the_same_package_elsewhere_has_the_same_digest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(home, {"one/lab/__init__.py": PLAIN, "two/lab/__init__.py": PLAIN, "two/other.py": "x"})
    found = []
    for folder in ("one", "two"):
        forget()
        with monkeypatch.context() as context:
            context.syspath_prepend(home / folder)
            found.append(package_source_digest("lab"))
    assert found[0] is not None
    assert found[0] == found[1]


def test_a_namespace_package(home: Path) -> None:
    written(home, {"space/lab/mine.py": PLAIN, "space/other.py": "x"})
    assert changes(functools.partial(package_source_digest, "space.lab.mine"), home / "space/lab/mine.py", "y")


def test_a_single_file(home: Path) -> None:
    written(home, {"mine.py": PLAIN, "other.py": "x"})
    digest = functools.partial(package_source_digest, "mine")
    assert changes(digest, home / "mine.py", "y")
    assert not changes(digest, home / "other.py", "y")
    assert package_source_digest(None, str(home / "mine.py")) == digest()


def test_a_conftest_is_its_file_even_inside_of_a_package(home: Path) -> None:
    written(home, {"checks/__init__.py": "", "checks/conftest.py": PLAIN, "checks/test_a.py": "x"})
    module = importlib.import_module("checks.conftest")
    digest = functools.partial(package_source_digest, module.__name__, module.__file__)
    assert changes(digest, home / "checks/conftest.py", PLAIN + "\n")
    assert not changes(digest, home / "checks/test_a.py", "y")
    assert of_editor(module.edit) is not None
    assert changes(lambda: of_editor(module.edit), home / "checks/conftest.py", PLAIN + "\n")


def test_two_conftests_of_one_name_are_told_apart(home: Path) -> None:
    found = []
    for folder in ("a", "b"):
        code = f"class Editor:\n    name = '{folder}'\n    def prepare(self, p): pass\n    def edit(self, j, p): pass\n"
        written(home, {f"{folder}/conftest.py": code})
        spec = importlib.util.spec_from_file_location("conftest", home / folder / "conftest.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["conftest"], kept = module, sys.modules.get("conftest")
        try:
            spec.loader.exec_module(module)
        finally:
            if kept is None:
                del sys.modules["conftest"]
            else:
                sys.modules["conftest"] = kept
        found.append(module.Editor)
    assert changes(lambda: of_editor(found[0]), home / "a/conftest.py", "x")
    assert not changes(lambda: of_editor(found[0]), home / "b/conftest.py", "x")
    assert changes(lambda: of_editor(found[1]), home / "b/conftest.py", "x")


def test_what_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert package_source_digest("sys") is None  # built in
    monkeypatch.setitem(sys.modules, "frozen", types.ModuleType("frozen"))
    assert package_source_digest("frozen") is None
    assert package_source_digest("no_such_module") is None
    assert package_source_digest(None, str(home / "absent.py")) is None
    with zipfile.ZipFile(home / "packed.zip", "w") as archive:
        archive.writestr("packed/__init__.py", PLAIN)
        archive.writestr("single.py", PLAIN)
    monkeypatch.syspath_prepend(home / "packed.zip")
    assert package_source_digest("packed") is None
    assert package_source_digest("single") is None
    assert of_editor(importlib.import_module("packed").edit) is None
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert package_source_digest("__main__") is None
    written(home, {"script.py": PLAIN})
    sys.modules["__main__"].__file__ = str(home / "script.py")
    forget()
    assert package_source_digest("__main__") == package_source_digest(None, str(home / "script.py"))
    space: dict[str, Any] = {"__name__": "script", "__file__": str(home / "script.py")}
    exec(PLAIN, space)  # says that it is of a file, and is not
    assert of_editor(space["edit"]) is None


def test_compiled_code_is_digested_as_it_is(home: Path) -> None:
    written(home, {"fast/native.so": "machine code", "fast/__init__.py": ""})
    assert changes(functools.partial(package_source_digest, "fast"), home / "fast/native.so", "other code")
    assert package_source_digest(None, str(home / "fast/native.so")) is not None


EDITOR = """
import functools
from pytest_editpitfalls.editors import EditorDeclaration, Hyperparameters, in_place_editor

import sys
decorators = sys.modules["decorators"]  # no import that can be read: objects tell of it
Base = sys.modules["bases"].Base

def edit(model, tokenizer, requests, rate=0.5):
    return model

@decorators.wrapped
def polite(model, tokenizer, requests):
    return model

@decorators.hidden
def rude(model, tokenizer, requests):
    return model

@in_place_editor(targets="str")
def marked(model, tokenizer, requests):
    return model

@decorators.registered
def listed(model, tokenizer, requests):
    return model

partial = functools.partial(edit, rate=0.25)
foreign = functools.partial(decorators.outside, inner=edit)

class Callable:
    def __call__(self, model, tokenizer, requests):
        return model

class Batched(Base):
    def edit(self, jobs, progress):
        return []

called = Callable()
method = Callable().__call__

class Values(Hyperparameters):
    rate: float = 0.5

declared = EditorDeclaration("x", "X", "here", "low-rank", "all", "lab.values:Values", "lab.maker:make")
"""
DECORATORS = """
import functools

def wrapped(function):
    @functools.wraps(function)
    def inner(model, tokenizer, requests):
        return function(model, tokenizer, requests)
    return inner

def hidden(function):
    def inner(model, tokenizer, requests):
        return function(model, tokenizer, requests)
    return inner

known = []

def first(model, tokenizer, requests):
    return known[0](model, tokenizer, requests)

def registered(function):
    known.append(function)
    return functools.update_wrapper(first, function)

def outside(model, tokenizer, requests, inner=None):
    return inner(model, tokenizer, requests)
"""


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("edit", {"editor.py"}),
        ("marked", {"editor.py"}),
        ("partial", {"editor.py"}),
        ("called", {"editor.py"}),
        ("method", {"editor.py"}),
        ("polite", {"editor.py", "decorators.py"}),
        ("rude", {"editor.py", "decorators.py"}),
        ("listed", {"editor.py", "decorators.py"}),
        ("foreign", {"editor.py", "decorators.py"}),
        ("Batched", {"editor.py", "bases.py"}),
        ("declared", {"lab/values.py", "lab/maker.py", "lab/other.py"}),
    ],
)
def test_an_editor_is_keyed_by_all_that_it_is_made_of(home: Path, name: str, files: set[str]) -> None:
    written(
        home,
        {
            "editor.py": EDITOR,
            "decorators.py": DECORATORS,
            "bases.py": "class Base:\n    def prepare(self, progress):\n        pass\n",
            "lab/__init__.py": "",
            "lab/values.py": "from pytest_editpitfalls.editors import Hyperparameters\n"
            "class Values(Hyperparameters):\n    rate: float = 0.5\n",
            "lab/maker.py": "def make(values, resources):\n    return None\n",
            "lab/other.py": "",
        },
    )
    importlib.import_module("decorators")
    importlib.import_module("bases")
    value = getattr(importlib.import_module("editor"), name)
    everything = [path for path in home.rglob("*.py") if path.stat().st_size or path.name == "other.py"]
    found = {
        path.relative_to(home).as_posix()
        for path in everything
        if changes(lambda: of_editor(value), path, path.read_text() + "# changed\n")
    }
    assert found == files
    assert of_editor(value) != engine_source_digest()


ADAPTER = """
def edit(model, tokenizer, requests):
    from method.main import apply

    return apply(model, requests)
"""


def test_what_an_adapter_imports_counts_by_content(home: Path) -> None:
    files = {
        "adapter.py": ADAPTER,
        "method/__init__.py": "",
        "method/main.py": "import tools.loss\nfrom . import steps\ndef apply(model, requests):\n    return model\n",
        "method/steps.py": "lr = 0.1\n",
        "tools/loss.py": "import importlib\ndeep = importlib.import_module('deep')\n",
        "deep.py": "weight = 1\n",
        "unrelated.py": "",
    }
    written(home, files)
    value = importlib.import_module("adapter").edit

    def key() -> str | None:
        return of_editor(value)

    assert key() is not None
    for name in files:
        changed = changes(key, home / name, files[name] + "# changed\n")
        assert changed == (name != "unrelated.py"), name


def test_what_cannot_be_found_where_it_is_imported(home: Path) -> None:
    written(home, {"maybe.py": "try:\n    import flash_nothing\nexcept ImportError:\n    pass\n" + PLAIN})
    value = importlib.import_module("maybe").edit
    before = of_editor(value)
    assert before is not None
    written(home, {"flash_nothing.py": ""})
    assert of_editor(value) != before
    # put on the path when it runs, perhaps: nothing is known of it
    written(home, {"later.py": "def edit(model, tokenizer, requests):\n    import method_nowhere\n"})
    assert of_editor(importlib.import_module("later").edit) is None


IN_A_FUNCTION = "def edit(model, tokenizer, requests):\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("finally", IN_A_FUNCTION + "    try:\n        import method_away\n    finally:\n        pass\n"),
        (
            "by_file",
            "import importlib.util\nspec = importlib.util.spec_from_file_location\n"
            + IN_A_FUNCTION
            + "    spec_from_file_location('m', 'm.py')\n",
        ),
        ("run", "import runpy\n" + IN_A_FUNCTION + "    runpy.run_path('m.py')\n"),
        ("executed", IN_A_FUNCTION + "    exec(open('m.py').read())\n"),
        ("named", "import importlib\nNAME = 'deep'\n" + IN_A_FUNCTION + "    importlib.import_module(NAME)\n"),
        ("below", "import middle\n" + IN_A_FUNCTION + "    return middle\n"),
    ],
)
def test_code_that_is_found_when_it_runs_is_never_the_same(home: Path, name: str, text: str) -> None:
    written(
        home,
        {f"{name}.py": text, "middle.py": "import sys\ndef go():\n    sys.path.insert(0, 'x')\n    import far_away\n"},
    )
    assert of_editor(importlib.import_module(name).edit) is None


def test_a_linked_folder_counts_by_content(home: Path) -> None:
    written(home, {"lab/__init__.py": "", "lab/mine.py": PLAIN, "elsewhere/core.py": "lr = 1\n"})
    (home / "lab" / "core").symlink_to(home / "elsewhere")
    (home / "lab" / "again").symlink_to(home / "lab")
    value = importlib.import_module("lab.mine").edit
    assert changes(lambda: of_editor(value), home / "elsewhere/core.py", "lr = 2\n")


def test_a_package_that_requires_an_editable_one_is_never_the_same(home: Path) -> None:
    installed(home, "faber", {"faber/__init__.py": ""}, requires="Requires-Dist: forum\n")
    installed(home, "forum", {"forum/__init__.py": ""}, editable=True)
    written(home, {"adapter.py": "import faber\n" + PLAIN})
    assert of_editor(importlib.import_module("adapter").edit) is None


def installed(home: Path, name: str, files: dict[str, str], *, requires: str = "", editable: bool = False) -> Path:
    """A distribution as pip leaves it; returns the directory of its facts."""
    facts = home / f"{name}-1.0.dist-info"
    listed = {} if editable else files
    written(home, files)
    record = "".join(f"{each},sha256={len(text)},{len(text)}\n" for each, text in listed.items())
    told = '{"url": "file:///x", "dir_info": {"editable": true}}' if editable else "{}"
    written(
        home,
        {
            f"{facts.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}",
            f"{facts.name}/RECORD": record or f"{facts.name}/METADATA,,\n",
            f"{facts.name}/top_level.txt": f"{name}\n",
            f"{facts.name}/direct_url.json": told,
        },
    )
    return facts


def test_what_is_installed_counts_by_version_and_record(home: Path) -> None:
    optional = "Requires-Dist: forum\nRequires-Dist: gamma; extra == 'all'\n"
    facts = installed(home, "faber", {"faber/__init__.py": "", "faber/pace.py": "lr = 1\n"}, requires=optional)
    deeper = installed(home, "forum", {"forum/__init__.py": ""})
    extra = installed(home, "gamma", {"gamma/__init__.py": ""})
    written(home, {"adapter.py": "import faber\n" + PLAIN})
    value = importlib.import_module("adapter").edit

    def key() -> str | None:
        return of_editor(value)

    assert key() is not None
    record = (facts / "RECORD").read_text()
    assert changes(key, facts / "RECORD", record + "faber/more.py,sha256=1,1\n")
    assert not changes(key, facts / "RECORD", record + "faber/__pycache__/pace.cpython-311.pyc,,\n")
    assert changes(key, facts / "METADATA", (facts / "METADATA").read_text().replace("1.0", "1.1"))
    assert not changes(key, home / "faber/pace.py", "lr = 2\n")  # pip does not do that; RECORD is what it wrote
    assert changes(key, deeper / "RECORD", "forum/__init__.py,sha256=1,1\n")
    assert not changes(key, extra / "RECORD", "gamma/__init__.py,sha256=1,1\n")


def test_an_editable_installation_counts_by_content(home: Path) -> None:
    installed(home, "faber", {"faber/__init__.py": "", "faber/pace.py": "lr = 1\n"}, editable=True)
    written(home, {"adapter.py": "import faber\n" + PLAIN})
    value = importlib.import_module("adapter").edit
    assert changes(lambda: of_editor(value), home / "faber/pace.py", "lr = 2\n")


def test_a_checkout_before_an_installed_package_of_that_name_counts_by_content(home: Path) -> None:
    written(home, {"adapter.py": "import yaml_like\n" + PLAIN})
    site = home / "site"
    installed(site, "yaml_like", {"yaml_like/__init__.py": ""})
    written(home, {"yaml_like/__init__.py": "", "yaml_like/pace.py": "lr = 1\n"})
    sys.path.append(str(site))
    try:
        value = importlib.import_module("adapter").edit
        assert changes(lambda: of_editor(value), home / "yaml_like/pace.py", "lr = 2\n")
    finally:
        sys.path.remove(str(site))
