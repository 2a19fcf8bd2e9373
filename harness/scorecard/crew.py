"""Many trials on all cores: one process each with its own model, results in no order that matters."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess

from harness.rig import Rig
from harness.scorecard.splice import Splicer
from harness.scorecard.targets import Target
from harness.scorecard.trial import Trace, Trial, prepare, run_trial

_BUNDLE = 4
"""Trials that travel together: few enough that progress is smooth and Ctrl-C quick."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Crew:
    """Runs trials of one rig. Make it with hire(); with one job everything runs in this process."""

    rig: Rig
    targets: Sequence[Target]
    jobs: int
    _pool: ProcessPoolExecutor | None = None
    _splicer: Splicer | None = field(default=None, repr=False)

    def run(self, trials: Sequence[Trial], on_trace: Callable[[Trace], None]) -> None:
        """Every trial, each trace handed over as it comes. KeyboardInterrupt leaves the rest out."""
        if self._pool is None:
            if self._splicer is None:
                self._splicer = prepare(self.rig)
            for trial in trials:
                on_trace(run_trial(self._splicer, self.targets, trial))
            return
        bundles = [tuple(trials[at : at + _BUNDLE]) for at in range(0, len(trials), _BUNDLE)]
        waiting: set[Future[list[Trace]]] = {self._pool.submit(_work, bundle) for bundle in bundles}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                for trace in self._result(future):
                    on_trace(trace)

    def _result(self, future: Future[list[Trace]]) -> list[Trace]:
        try:
            return future.result()
        except BrokenProcessPool:
            prepare(self.rig)  # a model that cannot be loaded says why here; what it raised there is lost
            raise


@contextmanager
def hire(rig: Rig, targets: Sequence[Target], jobs: int) -> Iterator[Crew]:
    """A crew of ``jobs`` processes, started afresh (spawn) with one thread each; they end with the block."""
    rig = replace(rig, model=replace(rig.model, threads=1))
    if jobs == 1:
        yield Crew(rig, targets, jobs)
        return
    with _one_thread():
        pool = ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(rig, tuple(targets))
        )
        try:
            yield Crew(rig, targets, jobs, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """What libraries of the new processes read as they start: as many threads as cores in each would be too many."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_JOB: tuple[Splicer, tuple[Target, ...]] | None = None


def _begin(rig: Rig, targets: tuple[Target, ...]) -> None:
    """In a new process. Ctrl-C reaches every process of a terminal, and is the first one's to answer."""
    global _JOB
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _JOB = prepare(rig), targets


def _end_with(parent: BaseProcess | None) -> None:
    """The pool's pipes stay open in its own processes, so that one whose master was killed would wait for ever."""
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(trials: tuple[Trial, ...]) -> list[Trace]:
    if _JOB is None:
        raise RuntimeError("this process was not started by hire()")
    splicer, targets = _JOB
    return [run_trial(splicer, targets, trial) for trial in trials]
