"""One module per kind of finding, found by being here."""
