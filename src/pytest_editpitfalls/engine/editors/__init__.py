"""One folder per editor: its declaration (``__init__.py``), hyper-parameters, presets and code.

What several editors share lies beside this folder: `locate_then_edit`, `fine_tuning`, `in_context`, `hyperparameters`.
"""
