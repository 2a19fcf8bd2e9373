"""Signals end a run in order, or at once if somebody insists; and reports are whole or not there."""

import os
import signal
import threading

import pytest

from harness.run import _signals_end, _write


class Told:
    """What a session is to a signal handler."""

    reasons = ()

    def stop(self, reason):
        self.reasons = (*self.reasons, reason)


@pytest.fixture
def handlers():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, "interrupted by the user"), (signal.SIGTERM, "ended by SIGTERM")]
)
def test_the_first_signal_asks_the_session_to_end(handlers, number, reason):
    session = Told()
    with _signals_end(session) as received:
        assert received == []
        os.kill(os.getpid(), number)
        assert session.reasons == (reason,)
    assert received == [number]


def test_a_second_ctrl_c_gets_out_of_a_model_that_never_returns(handlers):
    session = Told()
    with pytest.raises(KeyboardInterrupt), _signals_end(session):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_on_purpose_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    session = Told()
    with _signals_end(session) as received:
        os.kill(os.getpid(), signal.SIGINT)
    assert (received, session.reasons) == ([], ())


def test_beside_the_main_thread_no_handler_is_touched(handlers):
    before, seen = signal.getsignal(signal.SIGINT), []

    def run():
        with _signals_end(Told()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_half_a_report_is_not_left_behind(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        _write(full, "x" * 100_000)
    assert not full.is_symlink()
    _write(tmp_path / "fine", "x")
    assert (tmp_path / "fine").read_text() == "x"
