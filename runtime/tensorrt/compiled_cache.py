"""What TensorRT-RTX compiled for this GPU, kept on disk: its engines hold no machine code until they have run once.

A file is the SHA-256 of the blob, then the blob. Whether a blob still fits driver, GPU and version the library decides.
"""

import hashlib
import sys
from collections.abc import Sequence

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.kernels.compile import cache_folder
from hidenerf.runtime.tensorrt.api import RuntimeCache

_DIGEST_BYTES = hashlib.sha256().digest_size


class KeptCache:
    """The file of one set of engines, in the folder of the compiled kernels. parts: what the set is known by."""

    def __init__(self, parts: Sequence[str]) -> None:
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        self.path = cache_folder() / f"tensorrt-rtx-{digest}.cache"
        self._kept = b""

    def fill(self, cache: RuntimeCache) -> None:
        """What was kept, if it is whole and the library takes it; otherwise the cache stays empty."""
        try:
            entry = self.path.read_bytes()
        except OSError:
            return
        digest, blob = entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]
        if blob and hashlib.sha256(blob).digest() == digest and cache.deserialize(blob):
            self._kept = blob

    def keep(self, cache: RuntimeCache) -> None:
        """Write what the cache holds by now; where that is impossible, say so and go on."""
        blob = bytes(cache.serialize() or b"")
        if not blob or blob == self._kept:
            return
        try:
            with atomic_path(self.path) as partial:
                partial.write_bytes(hashlib.sha256(blob).digest() + blob)
        except HideNerfError as error:
            print(
                f"Compiled engines cannot be kept: they compile at every start ({str(error).partition(';')[0]}); name "
                "another folder in HIDENERF_KERNEL_CACHE.",
                file=sys.stderr,
            )
            return
        self._kept = blob
