"""A finished edited checkpoint in the place of an editor: opened, compared with its base, and asked as it stands."""
