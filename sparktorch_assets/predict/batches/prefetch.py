"""Prefetching: a generator runs in a thread of its own, ahead of its consumer by a bounded number of items."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_END = object()
_POLL_S = 0.1


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield `items`, computed in a thread while the consumer works on earlier ones; at most `depth` items are queued.

    An error in `items` is raised here, after the items before it. When the consumer stops early (an error, or
    `close()`), the thread ends at its next item and `items` is closed before this generator returns.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as error:  # noqa: BLE001  (raised again in the consumer's thread)
            failure.append(error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            put(_END)

    thread = threading.Thread(target=work, name="predict-prefetch", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        thread.join()
