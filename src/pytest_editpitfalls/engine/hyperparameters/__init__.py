"""What the hyper-parameters of all editors have in common, and how presets, files and options are merged. Torch-free."""
