"""Stage times: durations of each stage in constant memory, as logarithmic histograms."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator

# Buckets of 2 % from a microsecond to a hundred seconds.
_SHORTEST = 1e-6
_RATIO = math.log(1.02)
_BUCKETS = int(math.log(1e8) / _RATIO) + 1


class StageTimes:
    """Durations by stage name; stages may run in different threads."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent in the block to `stage`."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add one duration to `stage`."""
        bucket = int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _RATIO)
        with self._lock:
            counts = self._counts.setdefault(stage, [0] * _BUCKETS)
            counts[min(bucket, _BUCKETS - 1)] += 1

    def percentile(self, stage: str, percent: float) -> float:
        """Seconds that `percent` of the durations of `stage` do not exceed, within 2 %."""
        counts = self._counts[stage]
        rank = math.ceil(sum(counts) * percent / 100)
        seen = 0
        for bucket, count in enumerate(counts):
            seen += count
            if seen >= rank:
                return _SHORTEST * math.exp((bucket + 0.5) * _RATIO)
        raise AssertionError("the buckets hold every duration")

    def table(self) -> str:
        """One line per stage in the order of first use: count, p50, p95, p99 in milliseconds."""
        width = max(len(stage) for stage in ("stage", *self._counts))
        lines = [f"{'stage':<{width}}{'count':>7}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
        for stage, counts in self._counts.items():
            figures = "".join(f"{self.percentile(stage, p) * 1e3:>10.2f}" for p in (50, 95, 99))
            lines.append(f"{stage:<{width}}{sum(counts):>7}{figures}")
        return "\n".join(lines)
