"""Models that keep the consumer from its windows, each in its own way; factories for ``model.factory``."""

import ctypes
import threading

import torch


class _Keeping(torch.nn.Module):
    """Does ``keep()`` in every tenth window after its warm-up."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, inputs):
        first = next(iter(inputs.values()))
        self.calls += 1
        if self.calls > 20 and self.calls % 10 == 0:
            self.keep()
        return torch.tanh(first.mean(dim=(1, 2)))[:, None].repeat(1, 2)


class Prompt(_Keeping):
    def keep(self):
        pass


class Sleeping(_Keeping):
    def keep(self):
        self.sleep_over()

    def sleep_over(self):
        threading.Event().wait(0.4)


class Hanging(_Keeping):
    def keep(self):
        self.wait_for_good()

    def wait_for_good(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


class HoldingTheInterpreter(_Keeping):
    """C code that waits without letting other threads run."""

    def keep(self):
        ctypes.PyDLL(None).usleep(400_000)
