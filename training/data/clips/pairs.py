"""Pairs of frames of prepared clips for training, read in the background."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.clips.drawing import DrawnPair, FramePair, clip_face_model, draw_frame_pair
from hidenerf.training.data.clips.file import CLIP_SUFFIX, ClipFile, open_clip
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SeccChoice
from hidenerf.training.data.synthetic.image_pairs import ImagePairs
from hidenerf.training.data.synthetic.pool import ImagePairPool
from hidenerf.training.data.worker_processes import WorkerProcesses

# Pairs of frames that a worker has ahead of it.
_AHEAD_PER_WORKER = 3


def read_clips(folder: Path, config: ModelConfig) -> list[ClipFile]:
    """All prepared clips in a folder and below, in the order of their names, but for their pictures.

    Errors: no such folder, no clips in it, one that cannot be read, or was prepared for other sizes or with another
    face model.
    """
    if not folder.is_dir():
        wrong = "not a folder" if folder.exists() else "no such folder"
        raise HideNerfError(f"{folder}: {wrong}; give one that hidenerf-clips filled.")
    # A name that begins with a dot is that of a file half written.
    paths = sorted(path for path in folder.rglob(f"*{CLIP_SUFFIX}") if not path.name.startswith("."))
    if not paths:
        raise HideNerfError(f"{folder}: there are no prepared clips in this folder; make some with hidenerf-clips.")
    clips = [open_clip(path) for path in paths]
    model = clip_face_model()
    for path, file in zip(paths, clips, strict=True):
        clip = file.clip
        if clip.size != config.image_size:
            raise HideNerfError(
                f"{path}: this clip was prepared for pictures of {clip.size} pixels, but the preset {config.name} "
                f"takes {config.image_size}; prepare it again with --preset {config.name}."
            )
        if (clip.face_model, clip.expression_names, len(clip.identity)) != (
            model.name,
            model.expression_names,
            len(model.identity_names),
        ):
            raise HideNerfError(
                f"{path}: this clip was prepared with another face model ({clip.face_model}) than {model.name} as it "
                "is now; prepare it again."
            )
    return clips


def frame_pair(file: ClipFile, first: int, second: int) -> FramePair:
    """Frames `first` and `second` of a clip."""
    both = [first, second]
    clip = file.clip
    frames = (file.frame(first), file.frame(second))
    return FramePair(frames, clip.identity, clip.expression[both], clip.camera[both])


def random_frame_pair(file: ClipFile, random: np.random.Generator) -> FramePair:
    """Two different frames of a clip. The only frame of a still is both.

    Not its mirror image: light and parting are on the other side there, and a network so trained draws the mirror image
    wherever the head is turned to its other side (docs/training.md).
    """
    if len(file.clip) == 1:
        return frame_pair(file, 0, 0)
    first, second = random.choice(len(file.clip), 2, replace=False)
    return frame_pair(file, first, second)


def shown_pairs(
    clips: Sequence[ClipFile],
    config: ModelConfig,
    device: torch.device,
    count: int,
    seccs: SeccChoice = DEFAULT_SECCS,
) -> Batch:
    """Pairs to watch a run by, the same every time, of as many clips as there are."""
    random = np.random.default_rng(0)
    drawn = []
    for number in range(count):
        file = clips[number * len(clips) // count]
        drawn.append(draw_frame_pair(random_frame_pair(file, random), config.secc_size, seccs))
    image_pairs = ImagePairs(*(values.to(device) for values in _together(drawn)))
    return image_pairs.batch(torch.arange(count), torch.zeros(count, dtype=torch.long), seccs)


class ClipPairs(ImagePairPool):
    """A pool of pairs of clips' frames that worker processes keep reading, for `sample` to draw from.

    Each pair is two frames of a clip, or a still with itself; every clip is as likely as every
    other, and so is every frame in it. What a frame takes is read from its file when it is drawn, so that the clips may
    be larger than memory, and processes that train together share what the system keeps of them. workers: processes,
    one CPU core each. Which pairs a seed draws depends on how fast they were read; what they are does not. A context
    manager; leaving it ends the workers.
    """

    def __init__(
        self,
        clips: Sequence[ClipFile],
        config: ModelConfig,
        device: torch.device,
        capacity: int,
        workers: int,
        seed: int,
        seccs: SeccChoice = DEFAULT_SECCS,
    ) -> None:
        if workers < 1:
            raise HideNerfError(f"Clips are to be read by {workers} workers; give at least 1.")
        super().__init__(config, device, capacity, seed, seccs)
        self._clips = clips
        self._random = np.random.default_rng(seed)
        draw = partial(draw_frame_pair, secc_size=config.secc_size, seccs=seccs)
        self._workers = WorkerProcesses[DrawnPair](draw, workers, "reads clips")
        self._most_ahead = _AHEAD_PER_WORKER * workers
        self._stopped = threading.Event()
        self._refilling = threading.Thread(target=self._refill, name="clip pairs", daemon=True)

    def __enter__(self) -> "ClipPairs":
        self._workers.__enter__()
        self._refilling.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._refilling.join()
        self._workers.__exit__(kind, error, trace)

    def _submit(self) -> Callable[[], DrawnPair]:
        file = self._clips[int(self._random.integers(len(self._clips)))]
        return self._workers.submit(random_frame_pair(file, self._random))

    def _refill(self) -> None:
        """The background thread: what the workers have read, in the order of the draws, into the pool."""
        try:
            ahead: deque[Callable[[], DrawnPair]] = deque()
            drawn: list[DrawnPair] = []
            while not self._stopped.is_set():
                while len(ahead) < self._most_ahead:
                    ahead.append(self._submit())
                drawn.append(ahead.popleft()())
                if len(drawn) == self.chunk:
                    self.replace(_together(drawn))
                    self.publish()
                    drawn = []
        except BaseException as error:
            self.fail(error)


def _together(drawn: Sequence[DrawnPair]) -> ImagePairs:
    return ImagePairs(*(torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True)))
