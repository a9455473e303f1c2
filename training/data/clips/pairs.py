"""Clip pairs: training pairs of two frames of a prepared clip, read in the background."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.clips.drawing import DrawnPair, FramePair, clip_face_model, draw_frame_pair
from hidenerf.training.data.clips.file import CLIP_SUFFIX, ClipFile, open_clip
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SeccChoice
from hidenerf.training.data.synthetic.image_pairs import ImagePairs
from hidenerf.training.data.synthetic.pool import ImagePairPool
from hidenerf.training.data.worker_processes import WorkerProcesses

# Frame pairs submitted to each worker and not yet read.
_AHEAD_PER_WORKER = 3
# Frames of a clip that count for how likely it is drawn.
MOST_COUNTED = 16


def read_clips(folder: Path, config: ModelConfig) -> list[ClipFile]:
    """Open all prepared clips in a folder, recursively, in the order of their paths.

    config: of the model that is trained.
    Errors: no such folder, no clips in it, a clip that cannot be read or has another size or face model.
    """
    if not folder.is_dir():
        wrong = "not a folder" if folder.exists() else "no such folder"
        raise HideNerfError(f"{folder}: {wrong}; give one that hidenerf-clips filled.")
    # Names of files that are being written begin with a dot.
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
    """Frames `first` and `second` of a clip, numbers from 0 to T - 1."""
    both = [first, second]
    clip = file.clip
    frames = (file.frame(first), file.frame(second))
    return FramePair(frames, clip.identity, clip.expression[both], clip.camera[both])


def random_frame_pair(file: ClipFile, random: np.random.Generator) -> FramePair:
    """Two different random frames of a clip; of a still, its only frame twice.

    A still is not paired with its mirror image, in which light and parting are on the other side: a network trained on
    such pairs draws the mirror image where the head is turned to the other side (docs/training.md).
    """
    if len(file.clip) == 1:
        return frame_pair(file, 0, 0)
    first, second = random.choice(len(file.clip), 2, replace=False)
    return frame_pair(file, first, second)


def likelihoods(clips: Sequence[ClipFile]) -> NDArray[np.float64]:
    """How likely each clip is drawn [C]: in proportion to its number of frames, counted up to MOST_COUNTED.

    So a clip of a talking person is not lost among many stills, and a long one does not outweigh the others.
    """
    frames = np.minimum([len(file.clip) for file in clips], MOST_COUNTED)
    return np.asarray(frames / frames.sum(), np.float64)


def shown_pairs(
    clips: Sequence[ClipFile],
    config: ModelConfig,
    device: torch.device,
    count: int,
    seccs: SeccChoice = DEFAULT_SECCS,
) -> Batch:
    """A batch of pairs for the sample picture, evenly spread over the clips; the same on every call.

    count: number of pairs. seccs: what their SECCs show. Errors: those of `StoredFrame.read`.
    """
    random = np.random.default_rng(0)
    pairs = [random_frame_pair(clips[number * len(clips) // count], random) for number in range(count)]
    return batch_of(pairs, config, device, seccs)


def batch_of(
    pairs: Sequence[FramePair], config: ModelConfig, device: torch.device, seccs: SeccChoice = DEFAULT_SECCS
) -> Batch:
    """A batch of frame pairs, in their order; the first frame of each is the source.

    seccs: what their SECCs show. Errors: those of `StoredFrame.read`.
    """
    drawn = _together([draw_frame_pair(pair, config.secc_size, seccs) for pair in pairs])
    image_pairs = ImagePairs(*(values.to(device) for values in drawn))
    return image_pairs.batch(torch.arange(len(pairs)), torch.zeros(len(pairs), dtype=torch.long), seccs)


class ClipPairs(ImagePairPool):
    """A pool of frame pairs that worker processes keep filling; `sample` draws from it.

    Each pair is two frames of a clip, or a still with itself. `likelihoods` says how likely a clip is; all frames of a
    clip are equally likely. Frames are read from the files when they are drawn: the clips may be larger than memory,
    and processes that train together share the system's file cache. The pairs that enter the pool depend on the seed
    alone; which of them a batch draws depends on the reading speed too. It is a context manager; leaving it ends the
    workers.

    clips: at least one.
    config: of the model.
    device: of the pool.
    capacity: largest number of image pairs in the pool.
    workers: processes, one CPU core each.
    seed: of the random choice of frames and of pairs.
    seccs: what the SECCs show.
    Errors: no workers.
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
        self._likely = likelihoods(clips)
        self._random = np.random.default_rng(seed)
        draw = partial(draw_frame_pair, secc_size=config.secc_size, seccs=seccs)
        self._workers = WorkerProcesses[DrawnPair](draw, workers, "reads clips")
        self._most_ahead = _AHEAD_PER_WORKER * workers
        self._stopped = threading.Event()
        self._refilling = threading.Thread(target=self._refill, name="clip pairs", daemon=True)

    def __enter__(self) -> "ClipPairs":
        """Start the workers and the thread that fills the pool."""
        self._workers.__enter__()
        self._refilling.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop that thread and end the workers."""
        self._stopped.set()
        self._refilling.join()
        self._workers.__exit__(kind, error, trace)

    def _submit(self) -> Callable[[], DrawnPair]:
        """Let a worker read a random pair; returns a function that waits for it."""
        file = self._clips[int(self._random.choice(len(self._clips), p=self._likely))]
        return self._workers.submit(random_frame_pair(file, self._random))

    def _refill(self) -> None:
        """Body of the background thread: moves what workers have read into the pool, in the order of submission."""
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
    """Pairs stacked along a new first dimension, as tensors."""
    fields = [torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True)]
    return ImagePairs(*[*fields, torch.zeros(len(drawn), dtype=torch.bool)])
