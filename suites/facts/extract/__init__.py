"""Makes the tables of facts that ship, out of packages with permissive licences.

`python -m suites.facts.extract` from the project's root; docs/facts.md says how. One module of `sources` per source,
found by being there.
"""
