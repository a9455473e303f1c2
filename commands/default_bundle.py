"""The bundle that a command takes where none is named: `./bundle`, else one exported to the user's cache."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

from hidenerf.runtime.bundle import MANIFEST_NAME
from hidenerf.runtime.errors import HideNerfError

LOCAL_BUNDLE = Path("bundle")


def cached_bundle_path() -> Path:
    """Where the default bundle is exported to, one for each version of hidenerf."""
    import pooch

    return Path(pooch.os_cache("hidenerf")) / f"bundle-{importlib.metadata.version('hidenerf')}"


def default_bundle() -> Path:
    """`./bundle` if it is one, else the default checkpoint's bundle in the user's cache, exported there if need be.

    The export runs in a process of its own, since the runtime never imports torch.
    """
    if (LOCAL_BUNDLE / MANIFEST_NAME).is_file():
        return LOCAL_BUNDLE
    cached = cached_bundle_path()
    if (cached / MANIFEST_NAME).is_file():
        return cached
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx", "onnxscript")):
        raise HideNerfError(
            "There is no bundle here and none can be exported without PyTorch and ONNX; give one with --bundle, or "
            "install the exporter with: pip install 'hidenerf[export]'"
        )
    print(f"No bundle given: exporting the default one to {cached}.", file=sys.stderr)
    code = subprocess.run([sys.executable, "-m", "hidenerf.commands.export", "-o", str(cached)], check=False).returncode
    if code != 0:
        raise HideNerfError("The default bundle could not be exported; give one with --bundle.")
    return cached
