"""Collections of editors that others publish, used from a checkout of theirs. Torch-free until one is loaded.

``--editor=easyedit:ROME`` names an editor of EasyEdit as its own table of algorithms does. Every module in
``collections/`` is a collection; nothing else names it.
"""
