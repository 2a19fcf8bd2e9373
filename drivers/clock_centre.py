"""The clock by all delays together: where jitter goes both ways, and what the bulk adds where it does not.

A line is fitted by the M-estimator whose influence function suits the delays best: near the mean for normal jitter,
near the median for heavy tails, a low quantile for delays that start sharply. Its error is read off the scatter of
whole blocks, which counts delays that hang together for fewer, with Student's t for the few blocks of a short run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from drivers.clock_blocks import Blocks
from drivers.clock_edge import Bulk
from drivers.clock_line import NODES, ClockLine, basis, weighted_quantiles
from drivers.types import FloatArray

_SYMMETRIC = ((5.0, 1.0, 1.0), (1.5, 1.0, 1.0), (0.7, 1.0, 1.0), (0.25, 1.0, 1.0))
_LOW = ((0.2, 0.7, 0.3), (0.2, 0.85, 0.15), (0.15, 0.93, 0.07))
"""Influence functions: linear within so many robust sigmas of the line, then flat at weights below and above it."""
_ROUNDS, _CLOSE = 15, 0.03
"""Reweighting ends when a step is so small a share of the standard error."""
_FEWEST_BLOCKS = 4
_NORMAL_95, _MANY = 1.96, 1e6
"""Of a standard normal, and of Student's t the degrees of freedom that make it one."""
_EXACT_NS = 0.1
"""No error is smaller: times are whole nanoseconds."""
_TAIL = ((1200, 0.01, 2.95), (400, 0.02, 2.72), (60, 0.05, 2.25))
"""From so many chunks on, the share of them that the lower tail is judged by, and from how many quarters on (median
less that quantile, over median less lower quartile) it is a jitter's: normal 3.4, 3.0 and 2.4; delays that only add
1.7 to 1.6 (exponential) or, where they hold up those behind them, up to 2.6, 2.4 and 2.1."""


@dataclass(frozen=True, slots=True, eq=False)
class Centre:
    """A line through the delays at one of their quantiles, known independently in offset, slope and curve."""

    half_s: float
    theta: FloatArray
    """(order + 1,) ns."""
    covariance: FloatArray
    """(order + 1, order + 1) ns^2."""
    dof: float

    @property
    def t95(self) -> float:
        """Student's t that 95 % of errors stay within."""
        return float(special.stdtrit(self.dof, 0.975))

    def bulk(self) -> Bulk:
        """What it says of slope and curve."""
        error = np.maximum(np.sqrt(np.diag(self.covariance)), _EXACT_NS)
        return Bulk(np.append(self.theta[1:], 0.0)[:2], np.append(error[1:], np.inf)[:2], self.dof)

    def known(self, before: Bulk) -> Centre:
        """The same where the slope was known before besides. Order 1."""
        covariance = self.covariance * (self.t95 / _NORMAL_95) ** 2
        gain = covariance[:, 1] / (covariance[1, 1] + float(before.error[0]) ** 2)
        theta = self.theta + gain * (float(before.mean[0]) - self.theta[1])
        return Centre(self.half_s, theta, covariance - np.outer(gain, covariance[1]), _MANY)

    def line(self) -> ClockLine:
        """The line with its intervals."""
        spread = self.t95 * np.sqrt(np.diag(self.covariance))
        phi = basis(NODES, len(self.theta) - 1)
        band = self.t95 * np.sqrt(np.einsum("ni,ij,nj->n", phi, self.covariance, phi))
        ends = [
            (float(v - off) / self.half_s**axis, float(v) / self.half_s**axis, float(v + off) / self.half_s**axis)
            for axis, (v, off) in enumerate(zip(self.theta, spread, strict=True))
        ]
        curve = ends[2] if len(ends) > 2 else (0.0, 0.0, 0.0)
        return ClockLine(self.half_s, float(self.theta[0]), ends[1], curve, (-band, band))


@dataclass(frozen=True, slots=True, eq=False)
class Rough:
    """Delays about a first straight line through their middle."""

    at: FloatArray
    """(b,) in half spans."""
    half_s: float
    level: FloatArray
    """(b, RANKS) ns, 0 where there is no weight."""
    weight: FloatArray
    theta: FloatArray
    """(2,) ns."""
    rest: FloatArray
    """(b, RANKS) of the level."""
    sigma: float
    """Robust standard deviation of that, ns."""

    def slides(self) -> tuple[float, float]:
        """Slope and its standard error, ns/s."""
        phi = basis(self.at, 1)
        covariance, _ = _covariance(phi, self.rest, self.weight, self.sigma, _SYMMETRIC[-1])
        return float(self.theta[1]) / self.half_s, float(np.sqrt(covariance[1, 1])) / self.half_s


def rough(blocks: Blocks, half_s: float) -> Rough | None:
    """To begin with; None with fewer than four blocks."""
    if len(blocks) < _FEWEST_BLOCKS:
        return None
    at, weight = blocks.at_s / half_s, blocks.weight
    level = np.where(weight > 0, blocks.level_ns, 0.0)
    phi = basis(at, 1)
    theta = _start(at, level, weight)
    sigma = max(1.4826 * _quantile(np.abs(level - (phi @ theta)[:, None]), weight, 0.5), 1.0)
    theta = _solve(phi, level, weight, theta, sigma, _SYMMETRIC[-1])
    rest = level - (phi @ theta)[:, None]
    sigma = max(1.4826 * _quantile(np.abs(rest), weight, 0.5), 1.0)
    return Rough(at, half_s, level, weight, theta, rest, sigma)


def jitters(first: Rough) -> bool:
    """Delays go both ways about a middle: their lower tail thins out as a jitter's does, instead of ending."""
    total = float(first.weight.sum())
    for fewest, share, limit in _TAIL:
        if total >= fewest:
            tail, quarter, middle = _quantiles(first.rest, first.weight, (share, 0.25, 0.5))
            return middle - tail > limit * (middle - quarter)
    return False


def influence(first: Rough, symmetric: bool) -> tuple[float, ...]:
    """The influence function under which these delays tell most; one of a low quantile only if not ``symmetric``."""
    kinds = _SYMMETRIC if symmetric else _SYMMETRIC + _LOW
    return min(kinds, key=lambda kind: _variance(first, kind))


def centre(first: Rough, order: int, kind: tuple[float, ...]) -> Centre | None:
    """The line through all delays by an influence function. None with too few blocks for the order."""
    if len(first.at) < _FEWEST_BLOCKS + order - 1:
        return None
    phi = basis(first.at, order)
    theta = np.append(first.theta, 0.0)[: order + 1]
    if kind in _LOW:
        theta[0] += _quantile(first.rest, first.weight, kind[2])
    theta = _solve(phi, first.level, first.weight, theta, first.sigma, kind)
    rest = first.level - (phi @ theta)[:, None]
    covariance, dof = _covariance(phi, rest, first.weight, first.sigma, kind)
    return Centre(first.half_s, theta, covariance, dof)


def _start(at: FloatArray, level: FloatArray, weight: FloatArray) -> FloatArray:
    """A line through the blocks' medians, near enough to begin with: the median slope over half the blocks."""
    passed = np.cumsum(weight, axis=1)
    middle = level[np.arange(len(level)), (passed >= 0.5 * passed[:, -1:]).argmax(axis=1)]
    half = len(middle) // 2
    slope = float(np.median((middle[-half:] - middle[:half]) / (at[-half:] - at[:half])))
    return np.array([float(np.median(middle - slope * at)), slope])


def _solve(
    phi: FloatArray, level: FloatArray, weight: FloatArray, theta: FloatArray, sigma: float, kind: tuple[float, ...]
) -> FloatArray:
    """The M-estimate (order + 1,) from ``theta`` on, by reweighting."""
    width, down, up = kind[0] * sigma, kind[1], kind[2]
    enough = _CLOSE * sigma / float(np.sqrt(weight.sum()))
    for _ in range(_ROUNDS):
        rest = level - (phi @ theta)[:, None]
        pull = weight * _pull(rest / width, down, up)
        total = pull.sum(axis=1)
        step = np.linalg.solve((phi * total[:, None]).T @ phi, phi.T @ (pull * rest).sum(axis=1))
        theta = theta + step
        if np.abs(step).max() < enough:
            break
    return theta


def _pull(off: FloatArray, down: float, up: float) -> FloatArray:
    """Influence over distance: 1 inside -down..up, then falling so that the influence stays at its end."""
    return np.where(off > 0, up, down) / np.maximum(np.abs(off), np.where(off > 0, up, down))


def _variance(first: Rough, kind: tuple[float, ...]) -> float:
    """Of the estimate, per chunk, if all were independent, ns^2."""
    rest, weight = first.rest, first.weight
    if kind in _LOW:
        rest = rest - _quantile(rest, weight, kind[2])
    width, total = kind[0] * first.sigma, float(weight.sum())
    score = np.clip(rest / width, -kind[1], kind[2])
    mean = float((weight * score).sum()) / total
    steep = float(weight[(rest > -kind[1] * width) & (rest < kind[2] * width)].sum()) / (total * width)
    return float((weight * (score - mean) ** 2).sum()) / total / max(steep, 1e-12) ** 2


def _covariance(
    phi: FloatArray, rest: FloatArray, weight: FloatArray, sigma: float, kind: tuple[float, ...]
) -> tuple[FloatArray, float]:
    """Of the estimate, and its degrees of freedom, by the scatter of the blocks' scores about none."""
    width = kind[0] * sigma
    score = (weight * np.clip(rest / width, -kind[1], kind[2])).sum(axis=1)
    count = weight.sum(axis=1)
    wider = width * (1.5 if kind[0] < 0.3 else 1.0)  # the estimate sits where by chance delays are densest
    steep = float(weight[(rest > -kind[1] * wider) & (rest < kind[2] * wider)].sum()) / (float(count.sum()) * wider)
    dof = float(len(phi) - phi.shape[1])
    value = score / np.sqrt(count)
    power = float(value @ value)
    scatter = (1 + 1 / len(value)) * power / dof / max(steep, 1e-12) ** 2
    together = float(value[1:] @ value[:-1]) / power if power > 0 else 0.0
    if together > 1 / np.sqrt(len(value)):
        together = min(together, 0.9)
        scatter *= (1 + together) / (1 - together)
        dof = max(dof * (1 - together) / (1 + together), 2.0)
    return scatter * np.linalg.inv((phi * count[:, None]).T @ phi), dof


def _quantile(value: FloatArray, weight: FloatArray, share: float) -> float:
    return _quantiles(value, weight, (share,))[0]


def _quantiles(value: FloatArray, weight: FloatArray, shares: tuple[float, ...]) -> tuple[float, ...]:
    heavy = weight.ravel()
    return weighted_quantiles(value.ravel(), heavy / float(heavy.sum()), shares)
