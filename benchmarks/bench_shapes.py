"""Is the library as fast on every shape of work as on its best? `make bench-shapes`.

Each shape is a table, or some rows, that differs from the best case in one way: one giant row group, thousands of tiny
files, 4,000 columns, a store with latency. It is done by the library and by the loop that one would write by hand for it
(the floor), in turn, `--rounds` times after a round to warm up, in which both must find the same; what counts is the
median of the rounds' ratios. Then work is doubled three times, and the exponent of the growth is fitted (the slope of
log time over log work: 1 is linear). A target that is missed is marked, and does not change the exit status; a shape
that fails does.

    python benchmarks/bench_shapes.py --only A G --rounds 5
    python benchmarks/bench_shapes.py --scale 0.01 --rounds 1    # does it run?

Another version of the library is measured by the same code if `PYTHONPATH` names its folder. Ends with one JSON line.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from shapes.every import GROWTHS, SHAPES
from shapes.measure import Result, Sessions, grow, measure
from shapes.shape import Shape

HEADING = (
    f"{'shape':<11}{'':<60}{'ours s':>8}{'floor s':>9}{'ratio':>7}{'exponent':>10}{'requests':>10}{'memory':>8}  target"
)
_MEASURES = {"requests": "requests", "peak_memory_ratio": "memory", "median_s": "s"}


def line_of(result: Result) -> str:
    """One line of the table."""
    figures = [
        _figure(result.median_s, 8, 2),
        _figure(result.floor_s, 9, 2),
        _figure(result.ratio, 7, 2),
        _figure(result.exponent, 10, 2),
        _figure(result.requests, 10, 0),
        _figure(result.peak_memory_ratio, 8, 2),
    ]
    targets = ", ".join(
        f"{_MEASURES.get(name, name)} <= {limit:,g}{' MISSED' if name in result.missed else ''}"
        for name, limit in result.target.plain.items()
    )
    return f"{result.shape:<11}{result.name:<60}{''.join(figures)}  {targets}"


def _figure(value: float | None, width: int, digits: int) -> str:
    return " " * width if value is None else f"{value:>{width},.{digits}f}"


def main() -> int:
    """Parse, run, print a table and one line of JSON."""
    letters = [kind.letter for kind in (*SHAPES, *GROWTHS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SHAPE", choices=letters, default=letters, help=", ".join(letters))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="1: some seconds for each shape")
    options = parser.parse_args()
    # Workers find the networks where this file lies, and the library where PYTHONPATH says. They would look into the
    # working directory first, which may be a checkout of another version.
    folders = [str(Path(__file__).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders))
    os.chdir(Path(__file__).parent)
    results: list[Result] = []
    failed: list[str] = []
    print(HEADING)
    with Sessions() as sessions:
        for kind in (*SHAPES, *GROWTHS):
            if kind.letter not in options.only:
                continue
            folder = Path(tempfile.mkdtemp(prefix="bench-shapes-"))
            try:
                if issubclass(kind, Shape):
                    results.append(measure(kind(folder, options.scale), sessions, options.rounds))
                else:
                    results.append(grow(kind, folder, sessions, options.rounds, options.scale))
            except Exception:  # noqa: BLE001  (the other shapes are measured all the same)
                traceback.print_exc()
                failed.append(kind.letter)
            else:
                print(line_of(results[-1]), flush=True)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    missed = [result.shape for result in results if result.missed]
    print(
        f"{len(results) - len(missed)} of {len(results)} shapes meet their targets; missed: {', '.join(missed) or 'none'}"
    )
    if failed:
        print(f"failed: {', '.join(failed)}; see above")
    print(json.dumps({"benchmark": "shapes", "results": [result.plain for result in results]}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
