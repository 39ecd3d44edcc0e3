"""Part ``shapes``: the whole path on a tiny shape, on a CPU."""

from __future__ import annotations

from benchmarks import shapes
from benchmarks.part import Asked
from benchmarks.programs import reverse_programs
from benchmarks.random_models import Shape, context_templates, trained_tokenizer

TINY = Shape("tiny", "gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 4000}, vocabulary=4000)


def test_without_a_gpu_it_is_one_line() -> None:
    found = shapes.measure(Asked(quick=True, device="cpu", model="tiny"))
    assert found.figures == {"skipped": "needs a CUDA GPU"}
    assert found.ratios == {}
    assert "Not run here: needs a CUDA GPU" in found.markdown


def test_a_tiny_shape_takes_the_whole_path() -> None:
    own = shapes.measure_shape(TINY, "cpu", shapes.Amount(reference=1, batches=(1,), automatic=2))
    found = own["precisions"]["float32"]
    assert set(found["batch_sizes"]) == {"1"}
    assert found["automatic"]["cases"] == 2
    assert found["automatic"]["gflop_per_case"] > 0
    assert found["ratio"] > 0
    assert found["difference_of_log_p"]["max"] == 0.0
    figures = {"device": "cpu", "matrix_gflop_per_second": {"square_float32": 100.0}, "shapes": {"tiny": own}}
    assert "### tiny (0.00 billion parameters)" in shapes.render(figures)
    assert "| float32 (batch " in shapes.render(figures)


def test_rows_are_as_long_as_romes() -> None:
    programs = reverse_programs(8)
    tokenizer = trained_tokenizer(programs, 4000)
    templates = context_templates(tokenizer, programs)
    assert len(templates) == 21
    assert templates[0] == "{}"
    lengths = [len(tokenizer(template.removesuffix(". {}"))["input_ids"]) for template in templates[1:]]
    assert sorted(lengths) == [5] * 10 + [10] * 10
