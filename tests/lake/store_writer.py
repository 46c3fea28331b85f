"""One of several writers of a table in a store; run as a program.

python store_writer.py <source> <table> <weight>

It plans, says so, waits for a line, carries the plan out, and says what came of it.
"""

import sys

from lake_scorer import carry_out, plan_of

from sparktorch_assets.errors import CommitConflictError


def main(source: str, table: str, weight: str) -> None:
    """Refresh the table once."""
    plan = plan_of(source, table, int(weight))
    print("planned", flush=True)  # noqa: T201
    sys.stdin.readline()
    try:
        committed, _ = carry_out(plan, table, int(weight))
        print("committed" if committed.changed else "found the same", committed.version, flush=True)  # noqa: T201
    except CommitConflictError as error:
        print("conflict", str(error).split(":")[0], flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
