"""The processes that a campaign starts."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from drivers.clock import RealClock, to_ns

MASTER = """
    import threading
    from pathlib import Path
    from harness.rig_file import read_rig
    from harness.scorecard.crew import hire
    from harness.scorecard.trial import CLEAN, Trial

    if __name__ == "__main__":
        with hire(read_rig(Path(RIG)), [], 2) as crew:
            def tell():
                while len(crew._pool._processes) < 2:
                    threading.Event().wait(0.05)
                print(*crew._pool._processes, flush=True)
            threading.Thread(target=tell, daemon=True).start()
            crew.run([Trial(CLEAN, 0, seed) for seed in range(10_000)], lambda trace: None)
"""
RIG = Path(__file__).parents[3] / "rigs" / "bitalino.rig.yaml"


def runs(pid: int) -> bool:
    """A process that has ended and that nobody has asked about yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, as Linux has it")
def test_workers_end_with_a_master_that_was_killed(tmp_path):
    script = tmp_path / "master.py"
    script.write_text(textwrap.dedent(MASTER).replace("RIG", repr(str(RIG))))
    clock = RealClock()
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as master:
        workers = [int(word) for word in master.stdout.readline().split()]
        assert len(workers) == 2
        assert all(map(runs, workers))
        master.kill()
    deadline_ns = clock.now_ns() + to_ns(20)
    while any(map(runs, workers)):
        assert clock.now_ns() < deadline_ns, f"still there: {[pid for pid in workers if runs(pid)]}"
        clock.sleep_until(clock.now_ns() + to_ns(0.05))
