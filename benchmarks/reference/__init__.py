"""The reference: how cases are run today. Weights edited in place, one case at a time, everything computed in full.

Written from the equations and from what the benchmark's released code does (zjunlp/PitfallsKnowledgeEditing with
kmeng01/memit inside), to be measured against the engine. It takes the same programs and gives the same answers.

What costs the time there, and is done here as well:

- every pass runs the whole model: all layers, all positions, all positions through the head (`nethook.Trace` is used
  with ``stop=False``, so reading a key of layer 8 runs all layers too);
- all context templates and the KL row are padded to one rectangle, in each of the optimisation's passes;
- MEMIT's loss sends the last block's output through the head a second time;
- MEMIT solves a d_k x d_k system in float64 for each edit and each layer; ROME's inverse of C is computed once;
- each fact is scored by a padded pass of its own in each state;
- the edited matrices are copied before each edit and copied back after scoring.
"""
