"""kmeng01/rome: ``ALG_DICT`` in experiments/evaluate.py, hyper-parameters in hparams/ALGORITHM/MODEL.json."""

from __future__ import annotations

from pytest_editpitfalls.engine.outside.declaration import Collection

COLLECTION = Collection(
    name="rome",
    title="kmeng01/rome",
    table="experiments/evaluate.py",
    package="experiments",
    prompts="template",
    targets="str",
    has=("rome",),
    lacks=("memit",),
    of_2022=True,
    needs="docs/outside-editors.md says what its editors import",
)
