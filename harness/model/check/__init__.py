"""``hil model check``: what can be known about a model before any sensor is connected. Imports no torch."""
