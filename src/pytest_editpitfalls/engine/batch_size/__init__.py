"""How many cases are edited together, where the user does not set it: from a memory model that is measured once."""
