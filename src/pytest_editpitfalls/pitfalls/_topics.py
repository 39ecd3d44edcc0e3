"""What the kinds that ship are about. A topic's name is also that of the group of its suites."""

from __future__ import annotations

from ._pitfall import Topic

CONFLICT = Topic("conflict", "Knowledge conflict")
DISTORTION = Topic("distortion", "Knowledge distortion")
EDITS = Topic("edits", "Planned edits")
SPREAD = Topic("spread", "What an edit spreads to")
LIFELONG = Topic("lifelong", "What is left after many edits")
SAID = Topic("said", "What the model says")
