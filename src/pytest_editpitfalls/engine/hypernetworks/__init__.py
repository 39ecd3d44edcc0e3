"""Networks that are trained once for a model (MEND, RLEdit): data, loop, checkpoint, file, and the editor."""
