import numpy as np

from drivers.notices import Changes


def told(events: list) -> list[tuple]:
    return [(e.name, e.value, e.arrival_ns) for e in events]


def test_the_first_value_and_every_change_are_told() -> None:
    changes = Changes()
    events = changes.tell("contact", np.array([1, 1, 0, 0]), np.arange(4))
    assert told(events) == [("contact", True, 0), ("contact", False, 2)]
    assert told(changes.tell("contact", np.array([0, 1]), np.arange(4, 6))) == [("contact", True, 5)]


def test_nothing_new_is_nothing_told() -> None:
    changes = Changes()
    changes.tell("level", np.array([3.0]), np.array([0]), float)
    assert changes.tell("level", np.array([3.0, 3.0]), np.array([1, 2]), float) == []
    assert changes.tell("level", np.array([]), np.array([]), float) == []


def test_after_a_restart_the_value_is_told_again() -> None:
    changes = Changes()
    changes.tell("level", np.array([3.0]), np.array([0]), float)
    changes.restart()
    assert told(changes.tell("level", np.array([3.0]), np.array([9]), float)) == [("level", 3.0, 9)]
