"""The face sight: a picture of the face mesh in a frame's pose that says where the source picture shows each point.

Volume rendering at R × R cannot place an iris or a lip's edge, which are one or two of its pixels wide. The face mesh
can: its points are known in the source and in the frame. `hidenerf.model.alignment` uses it around eyes and mouth. The
mesh is the face model's face with its teeth, if it has any. Inside a mouth it also says what lies there that the source
picture does not show: teeth, gums, tongue or the cavity (`hidenerf.runtime.face_parts.mouth_inside`).
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import frontal_view, project, unpack_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, Floats
from hidenerf.runtime.face_parts import mouth_inside, smooth_step
from hidenerf.runtime.secc import draw_frontal

# MediaPipe's landmarks: corners and lids of the right and the left eye, and the mouth's corners.
_EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
_MOUTH = (61, 291)
# Regions as ellipses around these, half widths and half heights in distances between the eyes' outer corners, and how
# far below the mouth the second one's centre lies. They end above at the brows and the nose, where hair and glasses
# may lie before the face.
_EYE_SIZE = (0.34, 0.17)
_MOUTH_SIZE = (0.62, 0.42)
_BELOW_MOUTH = 0.06
# From this share of an ellipse on the weight falls to 0 at its edge.
_FULL = 0.7
# Points that lie deeper than this behind the eyes, in the same distances, are behind the mouth's cavity.
_DEEPEST = 1.1
# Side of the depth picture of the source, pixels. A vertex that lies up to TOLERANCE world units behind one of the
# pixels around it is seen; over SOFTNESS more that fades out. An eyelid is about 0.02 thick. Pixels around: a square of
# this side. Teeth have a smaller one: the slit between closed lips would show rows of them.
_DEPTH_SIZE = 256
_AROUND = 5
_AROUND_TEETH = 3
_TOLERANCE = 0.006
_SOFTNESS = 0.006
# Cosines of the angle between a surface and the line of sight from which on the surface counts as seen, and fully.
_GRAZING = (0.03, 0.12)
_FAR = 1e3


@lru_cache(maxsize=4)
def region_weights(face_model: FaceModel) -> Floats:
    """How far each vertex of face and teeth belongs to the regions of eyes and mouth: [V + T] float32 in [0, 1].

    Errors: the face model lacks the landmarks of eyes or mouth.
    """
    places = dict(zip(face_model.landmark_index.tolist(), face_model.landmark_mean, strict=True))
    missing = [number for number in (*_EYES[0], *_EYES[1], *_MOUTH) if number not in places]
    if missing:
        raise HideNerfError(
            f"The face model {face_model.name} lacks MediaPipe's landmark {missing[0]}; make it anew with "
            "hidenerf.assets, or take the shipped one."
        )
    eyes = [np.mean([places[number] for number in eye], axis=0) for eye in _EYES]
    mouth = np.mean([places[number] for number in _MOUTH], axis=0)
    unit = float(np.linalg.norm(places[_EYES[0][0]] - places[_EYES[1][0]]))
    mouth[1] -= _BELOW_MOUTH * unit
    mean = face_model.mean_with_teeth
    weights = np.zeros(len(mean))
    for centre, size in ((eyes[0], _EYE_SIZE), (eyes[1], _EYE_SIZE), (mouth, _MOUTH_SIZE)):
        beside = (mean - centre)[:, :2] / (unit * np.array(size))
        weights = np.maximum(weights, 1 - smooth_step(np.hypot(*beside.T), _FULL, 1.0))
    front = mean[:, 2] > np.mean(eyes, axis=0)[2] - _DEEPEST * unit
    return np.asarray(weights * front, np.float32)


def sight_colours(face_model: FaceModel, vertices: Floats, camera: Floats) -> Floats:
    """What `face_sight` draws the vertices in, [V + T, 4] float32: constants of a source.

    The vertex's position in the source picture (right, down, in [0, 1]); its region's weight in [0, 1]; and what is
    known of it, in [-1, 1]: how surely the source picture shows it, and where it does not, -`mouth_inside`.
    vertices: [V + T, 3], the source's face and teeth, with its own expression (`FaceModel.vertices_with_teeth`).
    camera: [25], the source's.
    Errors: those of `region_weights`, or vertices of another number.
    """
    face_model.require_with_teeth(vertices)
    place = project(vertices.astype(np.float64), camera)
    inside = ((place > 0) & (place < 1)).all(1)
    shown = inside * _shown(face_model, vertices, camera)
    known = shown - (1 - shown) * mouth_inside(face_model)
    return np.ascontiguousarray(np.column_stack([np.clip(place, 0, 1), region_weights(face_model), known]), np.float32)


def face_sight(face_model: FaceModel, vertices: Floats, camera: Floats, colours: Floats, size: int) -> Floats:
    """The face sight of a frame, [4, size, size] float32; 0 where there is no face.

    Channels: the position in the source picture times the weight, right and down; the weight of the region; and the
    weight times what is known of the point. All are in [0, 1] but for the last one, which is in [-1, 1]
    (`sight_colours`). Times the weight, so that means of pixels are weighted.
    vertices: [V + T, 3], the source's face and teeth with the frame's expression.
    camera: [25], the frame's.
    colours: [V + T, 4], of `sight_colours`, interpolated between vertices.
    Errors: vertices of another number.
    """
    face_model.require_with_teeth(vertices)
    screen = screen_vertices(vertices, camera)
    # OpenCV draws three channels at a time.
    parts = [colours[:, :3], np.repeat(colours[:, 3:], 3, 1)]
    triangles = face_model.triangles_with_teeth
    first, second = (
        draw_frontal(screen, triangles, np.ascontiguousarray(part), np.zeros((size, size, 3), np.float32))
        for part in parts
    )
    drawn = np.concatenate([np.clip(first, 0, 1), np.clip(second[..., :1], -1, 1)], 2)
    drawn[..., [0, 1, 3]] *= drawn[..., 2:3]
    return np.ascontiguousarray(drawn.transpose(2, 0, 1))


def screen_vertices(vertices: Floats, camera: Floats) -> Floats:
    """Vertices [V, 3] such that the SECC's view of [-1, 1]² shows them as the camera [25] does.

    The last coordinate is the distance of the world's origin less the vertex's, both along the camera's axis.
    """
    place, depth, origin = frontal_view(np.asarray(vertices, np.float64), camera)
    return np.column_stack([place, origin - depth]).astype(np.float32)


def _shown(face_model: FaceModel, vertices: Floats, camera: Floats) -> NDArray[np.floating]:
    """How surely the picture of a camera [25] shows each vertex [V + T, 3] of face and teeth: [V + T] in [0, 1]."""
    screen, triangles = screen_vertices(vertices, camera), face_model.triangles_with_teeth
    size, face = _DEPTH_SIZE, len(face_model.mean)
    canvas = np.full((size, size, 3), -_FAR, np.float32)
    nearness = draw_frontal(screen, triangles, np.repeat(screen[:, 2:], 3, 1), canvas)[..., 0]
    pixel = ((screen[:, :2] * (0.5, -0.5) + 0.5) * size - 0.5).astype(np.float32)
    found = np.concatenate(
        [_farthest(nearness, pixel[:face], _AROUND), _farthest(nearness, pixel[face:], _AROUND_TEETH)]
    )
    unhidden = 1 - np.clip((found - screen[:, 2] - _TOLERANCE) / _SOFTNESS, 0, 1)
    to_camera = unpack_camera(camera)[0][:3, 3] - vertices
    cosine = (vertex_normals(vertices, triangles) * to_camera).sum(1) / np.linalg.norm(to_camera, axis=1)
    # Inside the mouth the mesh is seen from either side.
    return unhidden * smooth_step(np.abs(cosine), *_GRAZING)


def _farthest(nearness: Floats, pixel: Floats, around: int) -> Floats:
    """The least of a picture [S, S] in a square of pixels around points [n, 2], column and row: [n]."""
    if not len(pixel):
        return np.zeros(0, np.float32)
    least = cv2.erode(nearness, np.ones((around, around)))
    column, row = (np.ascontiguousarray(pixel[:, k : k + 1]) for k in (0, 1))
    return np.asarray(cv2.remap(least, column, row, cv2.INTER_NEAREST, borderValue=_FAR)[:, 0], np.float32)


def vertex_normals(vertices: Floats, triangles: NDArray[np.int32]) -> NDArray[np.floating]:
    """Unit normals [V, 3] of a mesh, outwards: means of the triangles' normals, weighted by area."""
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    of_triangles = np.cross(b - a, c - a)
    normals = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], of_triangles)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
