"""The command `editpitfalls`."""
