"""What all hyper-parameters have in common, and how presets, files and options are merged. Torch-free."""
