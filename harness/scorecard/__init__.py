"""How good the checks are: every fault at every level, many seeds in virtual time, and clean runs beside them.

``targets`` says what can be damaged in a rig, ``trial`` makes one run of it, ``crew`` makes many on all cores,
``campaign`` decides which, ``score`` counts what the checks said, ``claims`` which levels are found, and ``verdict``
whether the checks may be trusted. The rest shows it.
"""
