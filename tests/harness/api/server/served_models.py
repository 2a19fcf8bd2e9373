"""Models for the server's tests; factories for ``model.factory``."""

import threading

import torch

HANGS, RAISES, IS_NAN, EXITS = -1.0, -2.0, -3.0, -4.0
"""What the first value of input ``a`` asks for."""
A = {"channels": 1, "seconds": 1.0, "rate_hz": 4.0}


class Moody(torch.nn.Module):
    """The mean of ``a`` and the quality of ``a``; or what the first value asks for."""

    outputs = ("mean", "trust")

    def __init__(self):
        super().__init__()
        self.inputs = {"a": A, "b": {"channels": 2, "seconds": 2.0, "rate_hz": 3.0}}
        self.entered, self.release = threading.Event(), threading.Event()

    def forward(self, inputs, quality):
        a = inputs["a"]
        mood = float(a[0, 0, 0])
        if mood == HANGS:
            self.entered.set()
            self.release.wait(60)
        if mood == RAISES:
            raise RuntimeError("the weights of layer 3 are missing <b>")
        if mood == EXITS:
            raise SystemExit(7)
        mean = a.mean(dim=(1, 2))
        return torch.stack([mean * float("nan") if mood == IS_NAN else mean, quality["a"]], dim=1)


class AlwaysRaising(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = {"a": A}

    def forward(self, inputs):
        raise ValueError("no good")
