"""A tiny random model on disk, opened as the benchmarks open theirs, and programs for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.tiny_models import save_tiny

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import EditRequest, State

torch.set_num_threads(1)

TEMPLATES = ["The truth is that {}", "{}", "The king of Spain. {}"]
CORPUS = """The author of the book is a writer from England, and the mother of the king is the queen of Spain.
Because of the rain, the game was stopped. He is married to her, and she is married to him.
According to the latest report, the company was founded in London by two brothers.
In the news today, the president of the United States met the chancellor of Germany in Berlin.
"""
COMMON: dict[str, Any] = {
    "context_templates": TEMPLATES,
    "mom2_ridge": 0.1,
    "v_num_grad_steps": 6,
    "v_lr": 0.3,
    "clamp_norm_factor": 2.0,
}

FIRST = EditRequest("The capital of {} is", "France", "Rome")
SECOND = EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king")
THIRD = EditRequest("The mother of {} is", "the king", "Japan")
PROMPTS = ("The capital of France is", "According to the latest report, the capital of France is", "France")


def make_program(name: str = "case", steps: tuple[tuple[EditRequest, ...], ...] = ((FIRST,), (SECOND,))) -> Program:
    states = (State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,)))
    probes = tuple(
        Probe(fact, state.name, prompts, target)
        for state in states
        for fact, prompts, target in (
            ("old", PROMPTS, "Rome"),
            ("new", ("Danielle Darrieux speaks", "In the news today, she speaks"), "Russian and the French"),
        )
    )
    return Program(name, steps, states, probes)


def open_tiny(directory: Path, family: str, dtype: str = "float64") -> EngineSession:
    """float64, so that the tolerance can tell a wrong formula from rounding."""
    model = save_tiny(directory / family, family, dtype=getattr(torch, dtype))
    corpus = directory / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    common = COMMON | {"mom2_corpus": str(corpus)}
    tables = {
        "rome": common | {"layers": [1]},
        "memit": common | {"layers": [0, 2], "mom2_update_weight": 5.0},
    }
    return EngineSession.open(EngineSettings(str(model), device="cpu", dtype=dtype, config_tables=tables))
