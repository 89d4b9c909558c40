"""Draw what benchmarks printed with --json: `python benchmarks/plot.py RESULT.json … >docs/performance.svg`.

A bar is the median, the line on it reaches from the quickest to the slowest round; each picture has a scale of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

LABELS, BARS, FIGURES, ROW, HEAD = 270, 420, 130, 24, 46


def panel(result: dict[str, Any], top: int) -> tuple[list[str], int]:
    """Return the drawing of one result and where the next begins."""
    seconds: dict[str, list[float]] = result["seconds"]
    scale = BARS / max(max(times) for times in seconds.values())
    what = f", {result['accounts']} accounts" if "accounts" in result else ""
    drawn = [f'<text x="8" y="{top + 20}" font-weight="bold">{escape(result["title"] + what)}</text>']
    facts = f"{result['machine']}; ansible-core {result['versions']['ansible-core']}; load {result['load']:.1f}"
    drawn.append(f'<text x="8" y="{top + 37}" fill="#666">{escape(facts)}</text>')
    y = top + HEAD
    for name, times in seconds.items():
        median, middle = result["medians"][name], y + ROW / 2
        low, high = (LABELS + scale * edge for edge in (min(times), max(times)))
        drawn += [
            f'<text x="{LABELS - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABELS}" y="{y + 4}" width="{scale * median:.1f}" height="{ROW - 8}" fill="#4878a8"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222" stroke-width="1.5"/>',
            f'<text x="{LABELS + BARS + 8}" y="{middle + 4}">{median:.2f} s ({result["ratios"][name]:.2f})</text>',
        ]
        y += ROW
    return drawn, y + 16


def main(paths: list[str]) -> None:
    """Print one picture of all results, one below the other."""
    if not paths:
        raise SystemExit(__doc__)
    drawn: list[str] = []
    bottom = 8
    for path in paths:
        part, bottom = panel(json.loads(Path(path).read_text()), bottom)
        drawn += part
    width = LABELS + BARS + FIGURES
    shape = f'viewBox="0 0 {width} {bottom}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>'
    sys.stdout.write("\n".join([head, f'<rect width="{width}" height="{bottom}" fill="#fff"/>', *drawn, "</svg>", ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
