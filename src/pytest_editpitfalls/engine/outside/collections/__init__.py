"""One module per collection, with a ``COLLECTION``."""
