"""Charts as inline SVG: bars and lines over time, with the 95 % interval as a band where sampling left doubt.

The plot is stretched to its place; words stand beside it as text, so that they are as large on a phone as on a screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from weighbridge.commands.plain_text import visible
from weighbridge.console.answers import Estimate
from weighbridge.console.shown import iso, when

_WIDTH, _HEIGHT = 1000.0, 100.0  # of the plot's own units
_LABELS: Final = 5  # along the time
_MOST_NAMED: Final = 12  # bars of a table that have their name below


class Line(NamedTuple):
    name: str
    css: str
    values: Sequence[Estimate | None]


class Bars(NamedTuple):
    """Amounts that are stacked."""

    name: str
    css: str
    values: Sequence[float]


class Time(NamedTuple):
    """The points of a chart."""

    starts: Sequence[datetime]
    step_s: int


def lines(title: str, time: Time, of: Sequence[Line], form: Callable[[float | None], str], most: float = 0) -> Markup:
    """most: at least so high the chart reaches."""
    highs = [e.high if e.high is not None else e.value for line in of for e in line.values if e is not None]
    top = nice(max([most, *highs], default=0))
    marks = []
    for line in of:
        marks += [_band(line, top), _path(line, top)]
    tips = [
        " · ".join(f"{line.name} {_worded(line.values[place], form)}" for line in of if line.values[place] is not None)
        or "no calls"
        for place in range(len(time.starts))
    ]
    return _figure(title, time, marks, tips, form(top), form(top / 2), [(line.name, line.css) for line in of])


def bars(title: str, time: Time, of: Sequence[Bars], form: Callable[[float | None], str]) -> Markup:
    """The first at the bottom."""
    count = len(time.starts)
    top = nice(max((sum(bar.values[place] for bar in of) for place in range(count)), default=0))
    width = _WIDTH / max(count, 1)
    marks = []
    below = [0.0] * count
    for bar in of:
        path = []
        for place, value in enumerate(bar.values):
            if value <= 0:
                continue
            high = value / top * _HEIGHT
            gap = min(1.5, width * 0.15)
            path.append(
                f"M{place * width + gap:.1f} {_HEIGHT - below[place]:.2f}v{-high:.2f}h{width - 2 * gap:.1f}v{high:.2f}z"
            )
            below[place] += high
        marks.append(Markup('<path class="bar {}" d="{}"/>').format(bar.css, "".join(path)))
    tips = [
        " · ".join(f"{bar.name} {form(bar.values[place])}" for bar in of if bar.values[place]) or "nothing"
        for place in range(count)
    ]
    return _figure(title, time, marks, tips, form(top), form(top / 2), [(bar.name, bar.css) for bar in of])


def columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup | None:
    """A simple chart of a table: its first column of numbers, a bar a row; None where there is none."""
    numeric = [
        place
        for place in range(len(names))
        if any(_is_number(row[place]) for row in rows)
        and all(row[place] is None or _is_number(row[place]) for row in rows)
    ]
    if not numeric or len(rows) < 2 or len(rows) > 120:
        return None
    place = next((one for one in numeric if one > 0), numeric[0])
    values = [float(row[place] or 0) for row in rows]
    top = max(map(abs, values)) or 1.0
    marks = []
    for number, value in enumerate(values):
        width = _WIDTH / len(values)
        high = max(0.0, value) / top * _HEIGHT
        marks.append(
            Markup('<path class="bar calls" d="{}"/>').format(
                f"M{number * width + width * 0.1:.1f} {_HEIGHT}v{-high:.2f}h{width * 0.8:.1f}v{high:.2f}z"
            )
        )
    label = f"{names[place]} of {len(rows)} rows, the highest {max(values):,.6g}"
    return Markup(
        '<figure class="chart simple"><figcaption>{}</figcaption><div class="plot"><svg viewBox="0 0 1000 100" '
        'preserveAspectRatio="none" role="img" aria-label="{}">{}</svg></div><div class="x">{}</div></figure>'
    ).format(names[place], label, Markup("").join(marks), _named(rows) if place else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(rows: Sequence[Sequence[Any]]) -> Markup:
    """The first column under its bars, where there is room for words."""
    if len(rows) > _MOST_NAMED:
        return Markup("")
    return Markup("").join(Markup("<span>{}</span>").format(visible(str(row[0]))[:60]) for row in rows)


def share(value: float, whole: float, css: str = "") -> Markup:
    """A small bar: value of whole."""
    width = 0 if whole <= 0 else max(0.0, min(100.0, value / whole * 100))
    return Markup(
        '<svg class="share" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="of" width="100" height="4"/><rect class="is {}" width="{:.2f}" height="4"/></svg>'
    ).format(css, width)


def stretch(offset: float, length: float, whole: float, css: str) -> Markup:
    """A bar of a waterfall: from offset on, so long, of the whole."""
    whole = whole or 1.0
    start = max(0.0, min(1000.0, offset / whole * 1000))
    width = max(2.0, min(1000.0 - start, length / whole * 1000))
    return Markup(
        '<svg class="stretch" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="{}" x="{:.1f}" y="2" width="{:.1f}" height="6"/></svg>'
    ).format(css, min(start, 998.0), width)


class Part(NamedTuple):
    name: str
    css: str
    value: float


def parts(label: str, of: Sequence[Part]) -> Markup:
    """A whole as one bar of its parts. Parts that are not nothing are seen, however small."""
    whole = sum(part.value for part in of)
    shown = [part for part in of if part.value > 0]
    widths = [max(6.0, part.value / whole * 1000) for part in shown] if whole else []
    scale = 1000 / sum(widths) if widths else 1
    x, marks = 0.0, []
    for part, width in zip(shown, widths, strict=True):
        marks.append(
            Markup(
                '<rect class="part {}" x="{:.1f}" width="{:.1f}" height="20"><title>{}: {:,.0f}</title></rect>'
            ).format(part.css, x, width * scale, part.name, part.value)
        )
        x += width * scale
    said = f"{label}: " + ", ".join(f"{part.name} {part.value:,.0f}" for part in shown)
    return Markup(
        '<svg class="parts" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(said, Markup("").join(marks))


def nice(value: float) -> float:
    """The next round number from a value on: 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.9999)


def _band(line: Line, top: float) -> Markup:
    """The interval, as an area; nothing where all is exact."""
    paths = []
    count = len(line.values)
    run: list[tuple[float, float, float]] = []
    for place in range(count + 1):
        estimate = line.values[place] if place < count else None
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            x = _x(place, count)
            run.append((x, _y(estimate.low, top), _y(estimate.high, top)))
        elif run:
            if len(run) == 1:
                x, low, high = run[0]
                run = [(x - 3, low, high), (x + 3, low, high)]
            there = "L".join(f"{x:.1f} {high:.2f}" for x, _, high in run)
            back = "L".join(f"{x:.1f} {low:.2f}" for x, low, _ in reversed(run))
            paths.append(f"M{there}L{back}z")
            run = []
    return Markup('<path class="band {}" d="{}"/>').format(line.css, "".join(paths)) if paths else Markup("")


def _path(line: Line, top: float) -> Markup:
    path, dots, drawing = [], [], False
    count = len(line.values)
    for place, estimate in enumerate(line.values):
        if estimate is None:
            drawing = False
            continue
        x, y = _x(place, count), _y(estimate.value, top)
        path.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.2f}")
        following = line.values[place + 1] if place + 1 < count else None
        if not drawing and following is None:  # a point alone, which no line would show
            dots.append(f"M{x - 0.01:.2f} {y:.2f}h.02")
        drawing = True
    return Markup('<path class="line {}" d="{}"/><path class="dot {}" d="{}"/>').format(
        line.css, "".join(path), line.css, "".join(dots)
    )


def _x(place: int, count: int) -> float:
    return (place + 0.5) * _WIDTH / max(count, 1)


def _y(value: float, top: float) -> float:
    return _HEIGHT - max(0.0, min(1.0, value / top)) * _HEIGHT


def _worded(estimate: Estimate | None, form: Callable[[float | None], str]) -> str:
    if estimate is None:
        return "–"
    doubt = "" if estimate.low is None else f" ({form(estimate.low)} to {form(estimate.high)})"
    return form(estimate.value) + doubt


def _figure(
    title: str,
    time: Time,
    marks: Sequence[Markup],
    tips: Sequence[str],
    top: str,
    middle: str,
    legend: Sequence[tuple[str, str]],
) -> Markup:
    count = len(time.starts)
    width = _WIDTH / max(count, 1)
    hits = Markup("").join(
        Markup(
            '<rect class="hit" x="{:.1f}" width="{:.2f}" height="100" data-at="{}" data-to="{}" data-tip="{}"/>'
        ).format(place * width, width, iso(start), iso(start + timedelta(seconds=time.step_s)), tip)
        for place, (start, tip) in enumerate(zip(time.starts, tips, strict=True))
    )
    keys = Markup("").join(Markup('<span class="key {}">{}</span>').format(css, name) for name, css in legend)
    places = [count * number // _LABELS for number in range(_LABELS)] if count >= _LABELS else range(count)
    form = "minute" if time.step_s * count <= 2 * 86_400 else "day"
    labels = Markup("").join(when(time.starts[place], form) for place in places)
    return Markup(
        '<figure class="chart"><figcaption><span class="name">{}</span><span class="legend">{}</span></figcaption>'
        '<div class="plot"><span class="y top">{}</span><span class="y middle">{}</span>'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="grid" d="M0 0h1000M0 50h1000M0 100h1000"/>{}{}</svg></div><div class="x">{}</div></figure>'
    ).format(title, keys, top, middle, f"{title} over time, from 0 to {top}", Markup("").join(marks), hits, labels)
