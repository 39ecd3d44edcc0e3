"""Files of other benchmarks: what they say, and the cases that are made of it; `suites.readers` has a module a form."""
