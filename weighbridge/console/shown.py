"""Numbers, times and texts as people read them. What a sender wrote is made visible: no control, no hidden letter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from weighbridge.commands.event_text import duration_text, gravity
from weighbridge.commands.plain_text import data_text, visible
from weighbridge.console.answers import Estimate, Line

_BIG: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def number(value: float | None) -> str:
    """A count: whole below ten thousand, else three digits and a letter."""
    if value is None:
        return "–"
    for size, letter in _BIG:
        if abs(value) >= size:
            divided = value / (1e3 if letter == "k" else size)
            return f"{divided:.0f}{letter}" if divided >= 100 else f"{divided:.1f}{letter}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    hundredths = value * 100
    if hundredths == 0 or hundredths >= 99.995:
        return f"{hundredths:.0f} %"
    return f"{hundredths:.1f} %" if hundredths >= 1 else f"{hundredths:.2g} %"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else duration_text(value)


def size(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def age(seconds: float | None) -> str:
    """A length of time in its largest unit."""
    if seconds is None:
        return "–"
    for length, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def interval(estimate: Estimate | None, form: str) -> str:
    """The 95 % interval in words; "" where the number is exact."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    how = {"number": number, "percent": percent, "ms": milliseconds}[form]
    return f"{how(estimate.low)} to {how(estimate.high)}"


def change(now: float | None, before: float | None) -> str:
    """How much more or less than before; "" where nothing can be said."""
    if now is None or not before:
        return ""
    share = now / before - 1
    if abs(share) < 0.005:
        return "±0 %"
    return f"{share:+.0%}" if abs(share) < 10 else f"×{now / before:.0f}"


def multiline(text: Any) -> Markup:
    """A text with its line ends, made visible."""
    return escape(data_text(str(text)))


def finalize(value: Any) -> Any:
    """Every plain text that a template prints, on one line, with nothing that is obeyed or unseen."""
    return visible(value) if type(value) is str else "" if value is None else value


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def when(moment: datetime | None, form: str = "time") -> Markup:
    """A time: UTC as it is written, the reader's own zone once the script has run. form: time, minute, full or day."""
    if moment is None:
        return Markup('<span class="none">–</span>')
    utc = moment.astimezone(UTC)
    forms = {"time": "%H:%M:%S.%f", "minute": "%H:%M", "full": "%Y-%m-%d %H:%M:%S", "day": "%Y-%m-%d %H:%M"}
    text = utc.strftime(forms[form])
    text = text[:-3] if form == "time" else text
    title = f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"
    return Markup('<time datetime="{}" data-form="{}" title="{}">{}</time>').format(iso(moment), form, title, text)


def status_class(line: Line) -> str:
    """A word for the colour: good, mine (the caller's fault), bad, none."""
    if line.status_code >= 500 or (not line.status_code and line.error_type):
        return "bad"
    if line.status_code >= 400:
        return "mine"
    return "good" if line.status_code else "none"


def severity_class(severity: str) -> str:
    """A word for the colour, as of `status_class`."""
    return {"error": "bad", "warning": "mine", "info": "info", "other": "none"}[gravity(severity)]


def what(line: Line) -> str:
    """The call's place, the action or the log's text."""
    if line.event_type == "log":
        return line.text or "(empty)"
    if line.event_type == "action":
        return line.action or line.name or line.family
    place = line.endpoint if line.endpoint and line.direction != "outgoing" else line.uri
    return place or line.name
