"""Models that end badly, each in its own way; factories for ``model.factory``."""

import threading

import torch


class _Bad(torch.nn.Module):
    def windows(self, inputs):
        return next(iter(inputs.values())).shape[0]


class Raising(_Bad):
    def forward(self, inputs):
        raise RuntimeError("the weights of layer 3 are missing")


class RaisingSometimes(_Bad):
    """On windows whose signal rises at their end, so on some, and not in its warm-up."""

    def forward(self, inputs):
        first = next(iter(inputs.values()))[:, 0]
        if (first[:, -1] > first[:, -2]).any():
            raise ValueError("lost my place")
        return torch.zeros(self.windows(inputs), 2)


class NotANumber(_Bad):
    def forward(self, inputs):
        return torch.full((self.windows(inputs), 2), float("nan"))


class DividingByTheSpread(_Bad):
    """Normalises without a floor: a flat window gives 0/0, as in the warm-up, and a living one does not."""

    def forward(self, inputs):
        first = next(iter(inputs.values())).flatten(1)
        spread = first.max(dim=1).values - first.min(dim=1).values
        return ((first[:, :2] - first.min(dim=1, keepdim=True).values) / spread[:, None]).abs()


class WrongShape(_Bad):
    def forward(self, inputs):
        return torch.zeros(2)


class Slow(_Bad):
    """300 ms for a call, however many windows it has."""

    def forward(self, inputs):
        threading.Event().wait(0.3)
        return torch.zeros(self.windows(inputs), 2)


def reasonable():
    class Reasonable(_Bad):
        def forward(self, inputs):
            return torch.zeros(self.windows(inputs), 2)

    return Reasonable()
