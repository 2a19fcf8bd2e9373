"""Checks: one file each, or an entry point of the group ``hil.checks``.

A module has ``LIMITS`` (a frozen dataclass with defaults; field names carry units and are the rig
file's keys, metadata["help"] explains each) and ``check(recording, limits) -> list[Verdict]``: a pure
function that always returns at least one verdict. Its docstring's first line is what
``hil list checks`` shows.
"""
