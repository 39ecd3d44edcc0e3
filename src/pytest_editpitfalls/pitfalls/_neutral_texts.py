"""Plain prose about nothing that an edit is about: what a model should still predict as well as before.

Written for this project. A metric's definition names their digest, so that figures over other texts are told apart.
"""

from __future__ import annotations

import hashlib

TEXTS = (
    "When the bread had risen for an hour, she pushed it down with both hands, shaped it into a ball and laid "
    "it on the warm stone. The kitchen smelled of yeast and smoke. By the time the children came in from the "
    "garden, the crust was brown, and there was butter on the table.",
    "To change the tyre of a bicycle, first let out all of the air. Lift one side of the tyre over the rim "
    "with a lever, and work your way around the wheel until it comes off. Check the inside for a nail or a "
    "piece of glass before you put in the new tube, or you will soon have to start again.",
    "The meeting had been set for nine, but at half past there were still only three people in the room. "
    "Nobody wanted to begin without the figures for the spring. In the end they agreed to write down what they "
    "knew, to send it round by mail, and to talk again on Thursday afternoon.",
    "Clouds form when moist air rises and cools. As the temperature falls, the water vapour condenses on tiny "
    "grains of dust and becomes droplets, which are so light that they float. If they grow large enough, they "
    "fall as rain or, where it is cold, as snow.",
    "He had never liked the sea. It was too wide for him, and too loud at night. But his daughter ran down to "
    "the water every morning as if it were an old friend, and after a week he found himself walking behind her "
    "with his shoes in his hand, looking for shells.",
    "A function that calls itself needs a case in which it does not. Without one it would never return, and "
    "sooner or later the program would run out of memory. It is a good habit to write that case first, and to "
    "test it before anything else.",
)

DIGEST = hashlib.sha256("\n".join(TEXTS).encode()).hexdigest()[:12]

FIXED_TEXTS = f"over {len(TEXTS)} fixed texts (digest {DIGEST})"
"""How the definition of a metric names them."""
