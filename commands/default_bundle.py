"""The default bundle: `./bundle`, or one that is exported to the user's cache and passes through the parity gate."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from hidenerf import __version__
from hidenerf.commands.console import logger, verbosity
from hidenerf.commands.errors import EXIT_PARITY_FAILED
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import MANIFEST_NAME

LOCAL_BUNDLE = Path("bundle")
EXPORT = [sys.executable, "-m", "hidenerf.commands.export"]


def cached_bundle_path() -> Path:
    """Where the default bundle is exported to, one for each version of hidenerf."""
    import pooch

    return Path(pooch.os_cache("hidenerf")) / f"bundle-{__version__}"


def default_bundle() -> Path:
    """`./bundle` if it is one, else the shipped checkpoint's bundle in the user's cache, exported there if need be.

    The export is `hidenerf-export` with its parity gate, in a process of its own, since the runtime never imports
    torch. The bundle may have failed the gate, or may lack a verdict: the manifest says so, and the runtime refuses it.
    Errors: packages that the export needs are missing, or it ended without a bundle.
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
    logger.info(f"No bundle given: exporting the default one to {cached}.")
    command = [*EXPORT, "-o", str(cached), *verbosity()]
    # Its log and errors share our stderr; stdout is for our own result.
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if code not in (0, EXIT_PARITY_FAILED):
        raise HideNerfError("The default bundle could not be exported; give one with --bundle.")
    return cached
