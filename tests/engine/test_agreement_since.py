"""ENCORE, NAS, SPHERE and LyapLock against their authors' code, where checkouts of it are here.

``EDITPITFALLS_CHECKOUTS`` names the directory that holds them: ``encore`` (scalable-model-editing), ``NAS``
(SasyaTitech), ``EasyEdit`` (zjunlp) and ``LyapLock`` (wpwpwpyo).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKOUTS = Path(os.environ.get("EDITPITFALLS_CHECKOUTS", ROOT.parent / "checkouts"))
FOLDERS = {"encore": "encore", "nas": "NAS", "sphere": "EasyEdit", "lyaplock": "LyapLock"}


@pytest.mark.parametrize("name", FOLDERS)
def test_edited_models_answer_alike(name: str) -> None:
    """A chain of three steps and four facts on a tiny Qwen2."""
    checkout = CHECKOUTS / FOLDERS[name]
    if not checkout.is_dir():
        pytest.skip(f"the authors' code is not here: no {FOLDERS[name]} in EDITPITFALLS_CHECKOUTS")
    command = [sys.executable, "-m", "tests.engine.authors_code", name, str(checkout)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert statistics.median(found["apart"]) <= 1e-3
    assert max(found["apart"]) <= 1e-2
    assert statistics.median(found["moved"]) > 0.05
    if name == "encore":
        assert min(found["steps"]) < 19  # the early stop was met, and in both at the same step
