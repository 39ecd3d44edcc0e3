"""The tests that the fast run leaves out, by folder or module: ``pytest -m "not slow"``."""

from __future__ import annotations

SLOW = {
    "browser": "starts Chromium",
    "fuzz": "thousands of spoilt inputs",
    "property": "hypothesis on tiny models",
    "faults/test_memory_and_nan.py": "processes that run out of memory",
    "models/test_shared_pages.py": "processes that load a model",
    "comparison/test_calibration.py": "simulations",
    "models/test_hyperparameters_of_every_editor.py": "hypothesis on every editor",
    "reports/test_commands.py": "commands in processes of their own",
    "reports/test_plots.py": "draws",
    "store/test_sources.py": "hashes many copies of packages",
    "plugin/test_honest_editors.py": "runs of pytest on a tiny model",
    "reports/test_junit.py": "runs of pytest with workers",
    # The engine against plain editing: every editor on tiny models of every family.
    "engine/test_batch_size.py": "batches until the memory is full",
    "engine/test_fine_tuning.py": "trains",
    "engine/test_grace.py": "trains",
    "engine/test_in_context.py": "every family",
    "engine/test_in_place.py": "every family",
    "engine/test_locate_then_edit.py": "every editor in every family",
    "engine/test_lora.py": "trains",
    "engine/test_mend.py": "trains",
    "engine/test_overlay_and_scoring.py": "every family",
    "engine/test_presets_end_to_end.py": "every preset",
    "engine/test_rome.py": "every family",
    "engine/test_second_moments_pass.py": "whole passes over a corpus, and processes that die",
    "engine/test_session.py": "runs whole suites",
    "engine/test_wise.py": "trains",
    # Whole runs of pytest, in processes of their own.
    "plugin/test_baseline_in_a_run.py": "several runs per test",
    "plugin/test_distribution.py": "runs with workers",
    "plugin/test_example.py": "runs the example with the embedded model",
    "plugin/test_noise_command.py": "several runs per test",
    "plugin/test_own_editors.py": "runs with torch",
    "plugin/test_own_pitfall.py": "runs with torch",
    "project/test_recipes.py": "copies of the package, and runs with them",
    "plugin/test_ray.py": "starts Ray clusters",
    "plugin/test_real_engine.py": "runs with the embedded model",
    "plugin/test_results.py": "several runs per test",
    "plugin/test_store_in_a_run.py": "several runs per test",
    "plugin/test_terminal.py": "several runs per test",
    "plugin/test_verdicts.py": "several runs per test",
    "plugin/test_worker_faults.py": "workers that die or hang",
}
"""Paths below tests/, each with what takes so long."""
