"""zjunlp/EasyEdit: ``ALG_DICT`` in easyeditor/util/alg_dict.py, hyper-parameters in hparams/ALGORITHM/MODEL.yaml."""

from __future__ import annotations

from pytest_editpitfalls.engine.outside.declaration import Collection

_PADS_RIGHT = frozenset({"ROME", "MEMIT", "EMMET", "EAMET", "R-ROME", "AlphaEdit", "CORE", "SPHERE"})
"""As easyeditor/editors/editor.py has it; all others are padded on the left."""

COLLECTION = Collection(
    name="easyedit",
    title="zjunlp/EasyEdit",
    table="easyeditor/util/alg_dict.py",
    package="easyeditor.util",
    prompts="filled",
    targets="plain",
    needs="docs/outside-editors.md says what each of EasyEdit's editors imports",
    bare=("easyeditor", "easyeditor.models", "easyeditor.util", "easyeditor.trainer", "easyeditor.trainer.algs"),
    left_padding=lambda algorithm: algorithm not in _PADS_RIGHT,
    attachments=frozenset({"GRACE", "WISE", "DEFER", "MELO"}),
    one_request=frozenset({"ROME", "R-ROME", "KN", "GRACE", "DEFER", "MELO"}),
)
