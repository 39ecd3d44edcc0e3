"""One run with an editor, in every process of it: hooks, state, batches and what is recorded of them."""
