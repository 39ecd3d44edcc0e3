"""One pytest run: what is collected, what becomes of each case, and what is reported at the end."""
