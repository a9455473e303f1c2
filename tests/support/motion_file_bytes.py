"""Bytes of motion files that went wrong, as hypothesis draws them: noise, damage to good files, and odd structure."""

import io
import zipfile
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.motion import MOTION_FORMAT, MOTION_VERSION
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS

FPS = Fraction(30)
# Cells that are numbers, nearly numbers, none, or times.
CELLS = (
    *(
        "0",
        "0.5",
        "1",
        "-1",
        "1e-9",
        "1e400",
        "inf",
        "nan",
        "",
        " ",
        "-",
        "0,5",
        "1.000,5",
        "0x1",
        "1_0",
        "\u0661",
        '"',
    ),
    *('"0.5"', "61", "100", "7", "99999999999999999999", "13:15:03:34.685", "23:59:59;29", "0:0.5", "10:00:00.033"),
    *("1e99", "-1e99", "1700000000.033", "true", "#", "\x00", "\ufffd", "1\t2", "a" * 300),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp037")
HEADS = ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "RightEyeYaw", "RightEyePitch")
OTHERS = (
    "Timecode",
    "timestamp",
    "BlendShapeCount",
    "tracked",
    "",
    "x",
    "jawOpen",
    "eyeBlink_L",
    "blendShapes.jawOpen",
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 12) -> bytes:
    """Content with bytes changed, cut out, repeated or put in, or with its end missing."""
    result = content
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, len(result)))
        length = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("change", "cut", "repeat", "end")))
        if kind == "change":
            put = draw(st.binary(min_size=1, max_size=8))
            result = result[:place] + put + result[place + len(put) :]
        elif kind == "cut":
            result = result[:place] + result[place + length :]
        elif kind == "repeat":
            result = result[:place] + result[place : place + length] * draw(st.integers(2, 20)) + result[place:]
        elif draw(st.integers(0, 4)) == 0:
            result = result[:place]
    return result


def a_take(rows: int = 4) -> str:
    """A good take."""
    lines = [",".join(("Timecode", "BlendShapeCount", *ARKIT_EXPRESSIONS, *HEADS))]
    for row in range(rows):
        lines.append(",".join((f"10:00:00:{2 * row:02}.5", "61", *["0.25"] * 52, *["0.1"] * len(HEADS))))
    return "\n".join(lines) + "\n"


@st.composite
def odd_takes(draw: st.DrawFn) -> bytes:
    """A table of ARKit's columns and others, with odd cells, lengths, delimiters and encodings."""
    names = [*ARKIT_EXPRESSIONS, *draw(st.lists(st.sampled_from((*HEADS, *OTHERS)), max_size=8))]
    if draw(st.integers(0, 9)) == 7:
        names.append(draw(st.sampled_from(("jawOpen", "eyeBlink_L", "blendShapes.jawOpen"))))
    if draw(st.booleans()):
        names.insert(0, draw(st.sampled_from(("Timecode", "time", "timeCode"))))
    delimiter = draw(st.sampled_from((",", ";", "\t", "|")))
    times = draw(
        st.one_of(
            st.lists(st.floats(allow_nan=True).map(repr), min_size=1, max_size=6),
            st.lists(st.integers(-5, 10**12).map(str), min_size=1, max_size=6),
            st.lists(
                st.builds(
                    "{:02}:{:02}:{:02}{}{}".format,
                    *(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
                    *(st.sampled_from((":", ";", ".")), st.floats(0, 1e4).map(lambda x: f"{x:.3f}")),
                ),
                min_size=1,
                max_size=6,
            ),
        )
    )
    plain = draw(st.sampled_from(("0.5", "0.25", "0", "50", "", "0,5")))
    lines = [delimiter.join(names)]
    for row in range(draw(st.integers(1, 12))):
        cells = [times[row % len(times)] if name.lower().startswith("time") else plain for name in names]
        for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 2)))):
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(CELLS))
        cells = cells[: draw(st.sampled_from((*[len(cells)] * 12, 2, 0)))]
        lines.append(delimiter.join(cells) + draw(st.sampled_from(("", "", delimiter, delimiter * 3))))
    encoding = draw(st.sampled_from((*["utf-8"] * 8, *ENCODINGS)))
    return draw(st.sampled_from(("\n", "\r\n", "\r"))).join(lines).encode(encoding, "replace")


def take_bytes() -> st.SearchStrategy[bytes]:
    """Content of a .csv file."""
    return st.one_of(
        st.binary(max_size=600),
        st.sampled_from(ENCODINGS).flatmap(lambda encoding: damaged(a_take().encode(encoding), 3)),
        odd_takes(),
    )


def motion_arrays(frames: int = 3) -> dict[str, np.ndarray]:
    """The arrays of a good motion file."""
    return {
        "format": np.array(MOTION_FORMAT),
        "version": np.array(MOTION_VERSION),
        "face_model": np.array("anny"),
        "expression": np.zeros((frames, 2), np.float32),
        "expression_names": np.array(["jawOpen", "mouthClose"]),
        "camera": np.stack([canonical_camera()] * frames),
        "tracked": np.ones(frames, np.bool_),
        "fps": np.array([30, 1], np.int64),
        "time": 33 * np.arange(frames) + np.arange(frames) ** 2,
        "time_base": np.array([1, 1000], np.int64),
    }


def packed(members: dict[str, bytes]) -> bytes:
    """An archive of members as they are, with right checksums."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as a .npy file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


@st.composite
def odd_arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of other dtypes and shapes, with values that are no numbers or very large."""
    dtype = np.dtype(
        draw(st.sampled_from(("f2", "f4", "f8", "c8", "i1", "u8", "i8", "?", "U3", "S3", "O", "M8[s]", "f4,i4", "V4")))
    )
    shape = draw(st.sampled_from(((), (0,), (1,), (2,), (3,), (3, 2), (3, 25), (25, 3), (0, 25), (1, 3, 25))))
    array: np.ndarray = np.zeros(shape, dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            array[...] = np.asarray(draw(st.sampled_from((0.0, 1.0, -1.0, np.nan, np.inf, 1e300)))).astype(dtype)
    elif dtype.kind in "iu" and draw(st.booleans()):
        array = np.frombuffer(draw(st.sampled_from((b"\x7f", b"\x80", b"\xff"))) * array.nbytes, dtype).reshape(shape)
    return array


@st.composite
def odd_motion_files(draw: st.DrawFn) -> bytes:
    """Archives whose members are exchanged, missing or damaged within right checksums."""
    members = {name: npy_bytes(array) for name, array in motion_arrays().items()}
    for name in draw(st.lists(st.sampled_from(sorted(members)), min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from(("other", "missing", "damaged", "bytes", "header")))
        if kind == "missing":
            del members[name]
        elif kind == "other":
            members[name] = npy_bytes(draw(odd_arrays()))
        elif kind == "damaged":
            members[name] = draw(damaged(members[name], 4))
        elif kind == "bytes":
            members[name] = draw(st.binary(max_size=80))
        else:
            shape = draw(st.sampled_from(("(1000000000000,)", "(-1,)", "(3, 25", "()", "(True,)", "(2**9,)", "[3]")))
            text = f"{{'descr': '<f4', 'fortran_order': {draw(st.booleans())}, 'shape': {shape}}}\n".encode()
            members[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(300)
    return packed(members)


def motion_file_bytes() -> st.SearchStrategy[bytes]:
    """Content of a .npz file."""
    good = packed({name: npy_bytes(array) for name, array in motion_arrays().items()})
    return st.one_of(st.binary(max_size=300), damaged(good), odd_motion_files())
