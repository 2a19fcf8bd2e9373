"""GPU memory by torch's own count, and how busy the GPU is by nvidia-smi, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import threading
from contextlib import suppress

_QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop=1")


class GpuUse:
    """Reads the GPU that the model runs on. ``index``: of the device, as in ``cuda:1``."""

    def __init__(self, index: int = 0, tool: str = "nvidia-smi") -> None:
        self._index, self._percent = index, float("nan")
        self.lines = 0
        """How often the tool has spoken."""
        self._process: subprocess.Popen[str] | None = None
        found = shutil.which(tool)
        if found is not None:
            with suppress(OSError):
                self._process = subprocess.Popen(
                    [found, f"--id={index}", *_QUERY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
                self._thread = threading.Thread(target=self._listen, name="hil gpu", daemon=True)
                self._thread.start()

    def read(self) -> dict[str, float]:
        """The columns CUDA_COLUMNS of harness.monitor.resources, without those that nobody tells."""
        import torch

        found = {
            "cuda_bytes": float(torch.cuda.memory_allocated(self._index)),
            "cuda_reserved_bytes": float(torch.cuda.memory_reserved(self._index)),
        }
        return found | self.busy()

    def busy(self) -> dict[str, float]:
        """``gpu_percent``, if it was told."""
        return {"gpu_percent": self._percent} if self._percent == self._percent else {}

    def close(self) -> None:
        """End the tool."""
        if self._process is not None:
            self._process.kill()
            self._thread.join()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _listen(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            with suppress(ValueError):  # "[N/A]" on some devices
                self._percent = float(line.strip())
            self.lines += 1
