"""How many cases are edited together, where the user does not say: from a memory model, measured once."""
