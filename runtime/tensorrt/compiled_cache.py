"""`CompiledCache`: the machine code that TensorRT-RTX compiled for this GPU, kept on disk.

Engines of TensorRT-RTX hold no machine code; it is compiled when they first run. TensorRT-RTX itself rejects stale
blobs: those of another GPU driver, GPU or version.
"""

import hashlib
import logging
from collections.abc import Sequence

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import read_verified, write_verified
from hidenerf.runtime.kernels.compile import cache_folder
from hidenerf.runtime.tensorrt.api import RuntimeCache

logger = logging.getLogger(__name__)


class CompiledCache:
    """The cache file of one set of engines; it lies in the folder of the compiled kernels.

    path: the file.
    """

    def __init__(self, identity: Sequence[str]) -> None:
        """identity: strings that together identify the set of engines and what compiles them."""
        digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()
        self.path = cache_folder() / f"tensorrt-rtx-{digest}.cache"
        self._saved: bytes | None = None

    def load_into(self, cache: RuntimeCache) -> None:
        """Fill TensorRT-RTX's cache from the file, if the file is undamaged and TensorRT-RTX accepts it."""
        blob = read_verified(self.path)
        if blob and cache.deserialize(blob):
            self._saved = blob

    def save(self, cache: RuntimeCache) -> None:
        """Write what TensorRT-RTX's cache holds now. Where that is impossible, a warning is logged."""
        blob = bytes(cache.serialize() or b"")
        if not blob or blob == self._saved:
            return
        try:
            write_verified(self.path, blob)
        except HideNerfError as error:
            logger.warning(
                "Compiled engines cannot be kept: they compile at every start (%s); name another folder in "
                "HIDENERF_KERNEL_CACHE.",
                str(error).partition(";")[0],
            )
            return
        self._saved = blob
