"""The timing cache: how fast each kernel was on this GPU, so that a later build need not time it again.

It lies beside the sets of engines, one file for each version of TensorRT and SM, as trtexec's `--timingCacheFile` takes
it. It saves most of the minutes that a build takes, and with it two builds choose the same kernels.
"""

import logging
from pathlib import Path
from typing import Any

from hidenerf.runtime.files import atomic_path

logger = logging.getLogger(__name__)


def timing_cache_file(engines: Path, backend: str, version: str, sm: int) -> Path:
    """Where the cache of a set of engines lies. engines: the bundle's folder of sets."""
    return engines / f"{backend}-{version}-sm{sm}.timing"


def read_timing_cache(config: Any, path: Path) -> None:
    """Give an `IBuilderConfig` the cache of a file, or an empty one where there is none or it does not fit.

    TensorRT itself refuses caches of another version, GPU or build flag.
    """
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        logger.info("%s does not fit this TensorRT and GPU; kernels are timed anew.", path.name)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def write_timing_cache(config: Any, path: Path) -> None:
    """Write what an `IBuilderConfig` knows after a build."""
    if (cache := config.get_timing_cache()) is not None:
        with atomic_path(path) as partial:
            partial.write_bytes(bytes(cache.serialize()))
