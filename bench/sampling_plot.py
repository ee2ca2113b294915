"""Draws docs/sampling.svg, the picture of docs/sampling.md: `python -m bench.sampling_plot [FILE]`.

One day of traffic, sampled a hundred times at each of three rates with the bridge's own sampler and
estimator. Always the same
picture: the seed is fixed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.estimate import Estimate, Kept, estimate_total
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import parse_rate, threshold, weight_split

FILE = Path(__file__).parent.parent / "docs" / "sampling.svg"
RATES = ["50", "10", "1"]
DAYS = 100
TRACES = 4000  # of 1 to 4 calls each

WIDTH, HEIGHT = 860, 360
INK, FAINT, OURS, WRONG = "#24292f", "#8c959f", "#0969da", "#cf222e"


class Day(NamedTuple):
    rate: str
    estimates: list[Estimate]


def days(calls_of_trace: list[int]) -> Iterator[Day]:
    """The same day under new trace ids, again and again."""
    rng = random.Random(2)
    for rate in RATES:
        sampler = Sampler(SamplingSettings(rate=rate))
        estimates = []
        for _ in range(DAYS):
            kept: list[Kept] = []
            for calls in calls_of_trace:
                trace_id = rng.randbytes(16)
                decision = sampler.span(trace_id, "", lambda path: None)
                if decision.keep:
                    kept.extend([Kept(trace_id.hex(), decision.adjusted_count)] * calls)
            estimates.append(estimate_total(kept))
        yield Day(rate, estimates)


class Drawing:
    """Lines of SVG."""

    def __init__(self) -> None:
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        ]

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> None:
        self.lines.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )

    def path(self, points: list[tuple[float, float]], colour: str, width: float = 1.5) -> None:
        d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.lines.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        self.lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, colour: str = INK, anchor: str = "start", size: int = 12) -> None:
        self.lines.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">{text}</text>'
        )

    def finished(self) -> str:
        return "\n".join([*self.lines, "</svg>", ""])


def estimates_panel(drawing: Drawing) -> None:
    """A hundred estimates at each rate: dots with their 95 % bars around the truth."""
    rng = random.Random(1)
    calls_of_trace = [rng.randint(1, 4) for _ in range(TRACES)]
    truth = sum(calls_of_trace)
    left, top, width, height = 60, 60, 470, 240

    def y(value: float) -> float:
        return top + height * (1 - min(value, 2 * truth) / (2 * truth))

    drawing.text(left, 26, f"One day of {truth:,} calls, estimated {DAYS} times at each rate", size=14)
    for share in (0, 0.5, 1, 1.5, 2):
        drawing.line(left, y(share * truth), left + width, y(share * truth), "#d0d7de")
        drawing.text(left - 6, y(share * truth) + 4, f"{share * truth / 1000:.0f}k", FAINT, "end")
    drawing.text(left + width, y(truth) - 6, "truth", INK, "end")
    panel = width / len(RATES)
    for column, day in enumerate(days(calls_of_trace)):
        held = sum(e.low <= truth <= e.high for e in day.estimates)
        mean = sum(e.value for e in day.estimates) / DAYS
        places = [left + panel * column + 8 + (panel - 16) * n / DAYS for n in range(DAYS)]
        colours = [("#b6e3ff", OURS) if e.low <= truth <= e.high else ("#ffb3b8", WRONG) for e in day.estimates]
        for x, estimate, (bar, _) in zip(places, day.estimates, colours, strict=True):
            drawing.line(x, y(estimate.low), x, y(estimate.high), bar)
        for x, estimate, (_, dot) in zip(places, day.estimates, colours, strict=True):
            drawing.dot(x, y(estimate.value), dot)
        middle = left + panel * (column + 0.5)
        drawing.text(middle, top + height + 22, f"{day.rate} % kept", anchor="middle")
        drawing.text(middle, top + height + 40, f"mean {mean / truth:.3f} × truth", FAINT, "middle")
        drawing.text(middle, top + height + 56, f"{held} of {DAYS} bars hold", FAINT, "middle")
    drawing.line(left, y(truth), left + width, y(truth), INK)


def weights_panel(drawing: Drawing) -> None:
    """What the sum of weights is to the number of calls, for every whole rate: ours, and floor(100 /
    rate)."""
    left, top, width, height = 600, 60, 230, 240

    def at(rate: float, ratio: float) -> tuple[float, float]:
        return left + width * rate / 100, top + height * (1 - (ratio - 0.4) / 0.8)

    drawing.text(left, 26, "Sum of weights ÷ calls, by rate", size=14)
    for ratio in (0.4, 0.6, 0.8, 1.0, 1.2):
        drawing.line(*at(0, ratio), *at(100, ratio), "#d0d7de")
        drawing.text(left - 6, at(0, ratio)[1] + 4, f"{ratio:.1f}", FAINT, "end")
    for rate in (0, 25, 50, 75, 100):
        drawing.text(at(rate, 0.4)[0], top + height + 22, f"{rate} %", FAINT, "middle")
    drawing.path([at(rate, rate / 100 * (100 // rate)) for rate in range(1, 101)], WRONG)
    drawing.path([at(rate, whole_weight(rate)) for rate in range(1, 101)], OURS, 2.0)
    drawing.text(*at(50, 1.05), "here", OURS, "middle")
    drawing.text(*at(70, 0.5), "100 / rate, rounded down", WRONG, "middle")


def whole_weight(rate: int) -> float:
    """Sum of our integer weights over all randomness, relative to the population."""
    t, m = threshold(parse_rate(rate)), 1 << 56
    q, limit = weight_split(t)
    return ((limit - t) * (q + 1) + (m - limit) * q) / m


def svg() -> str:
    drawing = Drawing()
    estimates_panel(drawing)
    weights_panel(drawing)
    return drawing.finished()


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.write_text(svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
