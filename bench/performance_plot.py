"""Draws docs/performance.svg from the table that `make bench` wrote into docs/performance.md:
`python -m bench.performance_plot`.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape

from bench.end_to_end import DOCUMENT, YARDSTICK

FILE = DOCUMENT.with_suffix(".svg")
WIDTH, BAR, GAP, LEFT = 860, 16, 22, 330
INK, FAINT, OURS, THEIRS = "#24292f", "#8c959f", "#0969da", "#afb8c1"


def bars() -> dict[str, list[tuple[str, float]]]:
    """By load: programs and their CPU microseconds a record."""
    told = DOCUMENT.read_text(encoding="utf-8").split("<!-- bench: begin -->")[1].split("<!-- bench: end -->")[0]
    lines = [line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("| ")]
    found = defaultdict[str, list[tuple[str, float]]](list)
    for load, program, cost, *_ in lines[2:]:
        found[load].append((program, float(cost.split()[0].replace(",", ""))))
    return found


def svg() -> str:
    """A group of bars for each load, the same scale for all, longest where most is used."""
    groups = bars()
    longest = max(cost for rows in groups.values() for _, cost in rows)
    scale = (WIDTH - LEFT - 60) / longest
    lines, y = list[str](), 30
    lines.append(f'<text x="10" y="{y}" font-size="14">µs of CPU a record, from the socket to the destination</text>')
    for load, rows in groups.items():
        y += GAP + 10
        lines.append(f'<text x="10" y="{y}" font-weight="600">{escape(load)}</text>')
        for program, cost in rows:
            y += GAP
            colour = THEIRS if not program.startswith("weighbridge") else OURS
            label = program + (" (the yardstick)" if program == YARDSTICK else "")
            lines.append(f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" fill="{INK}">{escape(label)}</text>')
            lines.append(
                f'<rect x="{LEFT}" y="{y - 12}" width="{cost * scale:.1f}" height="{BAR}" fill="{colour}"/>'
                f'<text x="{LEFT + cost * scale + 6:.1f}" y="{y}" fill="{FAINT}">{cost:.1f}</text>'
            )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" font-family="system-ui, sans-serif" '
        f'font-size="12" fill="{INK}"><rect width="{WIDTH}" height="{y + 24}" fill="#ffffff"/>'
    )
    return "\n".join([head, *lines, "</svg>", ""])


def main() -> None:
    FILE.write_text(svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
