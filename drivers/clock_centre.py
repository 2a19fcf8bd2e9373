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
from drivers.clock_line import NODES, ClockLine, basis
from drivers.types import FloatArray

_SYMMETRIC = ((5.0, 1.0, 1.0), (1.5, 1.0, 1.0), (0.7, 1.0, 1.0), (0.25, 1.0, 1.0))
_LOW = ((0.2, 0.7, 0.3), (0.2, 0.85, 0.15), (0.15, 0.93, 0.07))
"""Influence functions: linear within so many robust sigmas of the line, then flat at weights below and above it."""
_ROUNDS = 12
_FEWEST_BLOCKS = 4
_EXACT_NS = 0.1
"""No error is smaller: times are whole nanoseconds."""
_TAIL = ((1200, 0.01, 2.75), (400, 0.02, 2.6), (60, 0.05, 2.2))
"""From so many chunks on, the share of them that the lower tail is judged by, and from how many quarters on (median
less that quantile, over median less lower quartile) it is a jitter's: normal 3.4, 3.0 and 2.4; delays that only add
1.7 to 1.6 (exponential) or 2.3 to 2.0 (a sum of three)."""


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

    def line(self) -> ClockLine:
        """The line with its intervals."""
        spread = self.t95 * np.sqrt(np.diag(self.covariance))
        phi = basis(NODES, len(self.theta) - 1)
        band = self.t95 * np.sqrt(np.einsum("ni,ij,nj->n", phi, self.covariance, phi))
        ends = [
            tuple(float(v + k * spread[axis]) / self.half_s**axis for k in (-1, 0, 1))
            for axis, v in enumerate(self.theta)
        ]
        curve = ends[2] if len(ends) > 2 else (0.0, 0.0, 0.0)
        return ClockLine(self.half_s, float(self.theta[0]), ends[1], curve, (-band, band))  # type: ignore[arg-type]


def centre(blocks: Blocks, half_s: float, order: int, symmetric: bool) -> Centre | None:
    """The line through all delays by the influence function that fits them best; a low quantile may be that only
    where ``symmetric`` is not asked for. None with fewer than four blocks."""
    if len(blocks) < _FEWEST_BLOCKS + order - 1:
        return None
    at = blocks.at_s / half_s
    phi = basis(at, order)
    level, weight = np.where(blocks.weight > 0, blocks.level_ns, 0.0), blocks.weight
    theta = _solve(phi, level, weight, _start(phi, level, weight), 1.0, (0.25, 1.0, 1.0))
    rest = level - (phi @ theta)[:, None]
    sigma = max(1.4826 * _quantile(np.abs(rest), weight, 0.5), 1.0)
    kinds = _SYMMETRIC if symmetric else _SYMMETRIC + _LOW
    choice = min(kinds, key=lambda kind: _variance(rest, weight, sigma, kind))
    if choice in _LOW:
        theta = theta + np.append(_quantile(rest, weight, choice[2]), np.zeros(order))
    theta = _solve(phi, level, weight, theta, sigma, choice)
    covariance, dof = _covariance(phi, level - (phi @ theta)[:, None], weight, sigma, choice)
    return Centre(half_s, theta, covariance, dof)


def jitters(blocks: Blocks, half_s: float) -> bool:
    """Delays go both ways about a middle: their lower tail thins out as a jitter's does, instead of ending."""
    total = float(blocks.count.sum())
    found = [(share, limit) for fewest, share, limit in _TAIL if total >= fewest]
    if not found or len(blocks) < _FEWEST_BLOCKS:
        return False
    share, limit = found[0]
    phi = basis(blocks.at_s / half_s, 1)
    level, weight = np.where(blocks.weight > 0, blocks.level_ns, 0.0), blocks.weight
    theta = _solve(phi, level, weight, _start(phi, level, weight), 1.0, (0.25, 1.0, 1.0))
    rest = level - (phi @ theta)[:, None]
    tail, quarter, middle = (_quantile(rest, weight, part) for part in (share, 0.25, 0.5))
    return middle - tail > limit * (middle - quarter)


def _start(phi: FloatArray, level: FloatArray, weight: FloatArray) -> FloatArray:
    """A line through the blocks' medians, near enough to begin with."""
    passed = np.cumsum(weight, axis=1)
    middle = level[np.arange(len(level)), (passed >= 0.5 * passed[:, -1:]).argmax(axis=1)]
    slopes = (middle[len(middle) // 2 :][: len(middle) // 2] - middle[: len(middle) // 2]) / (
        phi[len(middle) // 2 :, 1][: len(middle) // 2] - phi[: len(middle) // 2, 1]
    )
    slope = float(np.median(slopes))
    return np.array([float(np.median(middle - slope * phi[:, 1])), slope, *([0.0] * (phi.shape[1] - 2))])


def _solve(
    phi: FloatArray, level: FloatArray, weight: FloatArray, theta: FloatArray, sigma: float, kind: tuple[float, ...]
) -> FloatArray:
    """The M-estimate (order + 1,) from ``theta`` on, by reweighting."""
    if sigma == 1.0:
        rest = level - (phi @ theta)[:, None]
        sigma = max(1.4826 * _quantile(np.abs(rest), weight, 0.5), 1.0)
    width, down, up = kind[0] * sigma, kind[1], kind[2]
    for _ in range(_ROUNDS):
        rest = level - (phi @ theta)[:, None]
        pull = weight * _pull(rest / width, down, up)
        total = pull.sum(axis=1)
        step = np.linalg.solve((phi * total[:, None]).T @ phi, phi.T @ (pull * rest).sum(axis=1))
        theta = theta + step
        if np.abs(step).max() < 1e-4 * sigma:
            break
    return theta


def _pull(off: FloatArray, down: float, up: float) -> FloatArray:
    """Influence over distance: 1 inside -down..up, then falling so that the influence stays at its end."""
    return np.where(off > 0, up / np.maximum(off, up), down / np.maximum(-off, down))


def _influence(rest: FloatArray, width: float, kind: tuple[float, ...]) -> FloatArray:
    return np.clip(rest / width, -kind[1], kind[2])


def _variance(rest: FloatArray, weight: FloatArray, sigma: float, kind: tuple[float, ...]) -> float:
    """Of the estimate, per chunk, if all were independent, ns^2."""
    shifted = rest - (_quantile(rest, weight, kind[2]) if kind in _LOW else 0.0)
    width = kind[0] * sigma
    score = _influence(shifted, width, kind)
    total = float(weight.sum())
    mean = float((weight * score).sum()) / total
    steep = float(weight[(shifted > -kind[1] * width) & (shifted < kind[2] * width)].sum()) / (total * width)
    return float((weight * (score - mean) ** 2).sum()) / total / max(steep, 1e-12) ** 2


def _covariance(
    phi: FloatArray, rest: FloatArray, weight: FloatArray, sigma: float, kind: tuple[float, ...]
) -> tuple[FloatArray, float]:
    """Of the estimate, and its degrees of freedom, by the scatter of the blocks' scores about none."""
    width = kind[0] * sigma
    score = (weight * _influence(rest, width, kind)).sum(axis=1)
    count = weight.sum(axis=1)
    steep = float(weight[(rest > -kind[1] * width) & (rest < kind[2] * width)].sum()) / (float(count.sum()) * width)
    dof = float(len(phi) - phi.shape[1])
    value = score / np.sqrt(count)
    power = float(value @ value)
    scatter = power / dof / max(steep, 1e-12) ** 2
    together = float(value[1:] @ value[:-1]) / power if power > 0 else 0.0
    if together > 2 / np.sqrt(len(value)):
        together = min(together, 0.9)
        scatter *= (1 + together) / (1 - together)
        dof = max(dof * (1 - together) / (1 + together), 2.0)
    return scatter * np.linalg.inv((phi * count[:, None]).T @ phi), dof


def _quantile(value: FloatArray, weight: FloatArray, share: float) -> float:
    flat, heavy = value.ravel(), weight.ravel()
    order = np.argsort(flat)
    passed = np.cumsum(heavy[order]) - 0.5 * heavy[order]
    return float(np.interp(share * heavy.sum(), passed, flat[order]))
