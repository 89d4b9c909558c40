"""How a run without work grows: `python benchmarks/scale.py INVENTORY --limit PATTERN --sizes 8 16 32 50`.

Takes the first accounts of the limit in turns of machines, and measures wall clock, processor time and the highest
memory (PSS, so that what forked workers share counts once) of ansible-playbook and all its processes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbfleet.endpoint import Reach


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def memory(pid: int) -> float:
    """Return the MB of a process and all that it started."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def watched(words: list[str], environment: Mapping[str, str], peaks: list[float], processor: list[float]) -> None:
    """Run a command; append its highest memory in MB and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        words,
        cwd=measure.ROOT,
        env={**os.environ, "ANSIBLE_TIMEOUT": "60", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    ended = threading.Event()
    highest = [0.0]

    def look() -> None:
        while not ended.wait(0.2):
            highest[0] = max(highest[0], memory(child.pid))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        status = child.wait(timeout=1800)
    finally:
        ended.set()
        looker.join()
    if status != 0:
        raise SystemExit(f"{words[0]} ended with status {status}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peaks.append(highest[0])
    processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def spread(accounts: dict[str, Reach]) -> list[str]:
    """Return the accounts' names so that any first N of them are spread over the machines."""
    places: dict[str, int] = {}
    order = []
    for name, reach in accounts.items():
        places[reach.host] = places.get(reach.host, 0) + 1
        order.append((places[reach.host], name))
    return [name for _, name in sorted(order)]


def main() -> None:
    """Measure each size in turns; fit a line, and say what 1,000 accounts would cost at 50 forks."""
    parser = measure.parser(__doc__, rounds=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32, 50])
    args = parser.parse_args()
    names = spread(measure.accounts(args.inventory, args.limit))
    sizes = [size for size in args.sizes if size <= len(names)]
    peaks: dict[int, list[float]] = {size: [] for size in sizes}
    processor: dict[int, list[float]] = {size: [] for size in sizes}
    with measure.masters() as (_, live):

        def way(size: int) -> measure.Way:
            words = measure.site(args.inventory, ",".join(names[:size]))
            return lambda: watched(words, live, peaks[size], processor[size])

        began = time.monotonic()
        seconds = measure.in_turns({f"{size} accounts": way(size) for size in sizes}, args.rounds)
    figures = {
        size: {
            "seconds": round(statistics.median(seconds[f"{size} accounts"]), 2),
            "processor_seconds": round(statistics.median(processor[size][1:]), 2),
            "peak_mb": round(statistics.median(peaks[size][1:])),
        }
        for size in sizes
    }
    more: dict[str, object] = {"sizes": figures, "took": round(time.monotonic() - began)}
    if len(sizes) > 1:
        lines = {
            key: statistics.linear_regression(sizes, [figures[size][key] for size in sizes])
            for key in ("seconds", "processor_seconds", "peak_mb")
        }
        more["per_account"] = {key: round(line.slope, 3) for key, line in lines.items()}
        # Memory is that of the workers, and there are never more of them than forks.
        reach = {"seconds": 1000, "processor_seconds": 1000, "peak_mb": 50}
        more["at_1000"] = {key: round(line.slope * reach[key] + line.intercept) for key, line in lines.items()}
    unit = f"{sizes[0]} accounts"
    measure.report("a run without work, by accounts", seconds, unit=unit, as_json=args.json, **more)


if __name__ == "__main__":
    main()
