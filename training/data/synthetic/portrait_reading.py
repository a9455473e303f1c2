"""Portrait reading: makes portraits, for synthetic pairs, of a folder of prepared stills."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hidenerf.model.config import ModelConfig
from hidenerf.training.data.clips.pairs import read_clips
from hidenerf.training.data.synthetic.portraits import PortraitSkin, PortraitSkins, make_portrait_skin
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE
from hidenerf.training.data.worker_processes import WorkerProcesses

# Portraits that a worker has ahead of it.
_AHEAD_PER_WORKER = 2


def read_portrait_skins(folder: Path, config: ModelConfig, share: float, workers: int) -> PortraitSkins:
    """Portraits of all prepared stills and clips in a folder, recursively, in the order of their paths.

    The first frame of each is used; a portrait takes one core 0.2 s.
    config: of the model that is trained.
    share: see `PortraitSkins`.
    workers: processes.
    Errors: those of `read_clips`.
    """
    files = read_clips(folder, config)
    portraits = []
    textures = np.empty((len(files), ATLAS_SIZE, ATLAS_SIZE, 4), np.uint8)
    photographs = np.empty((len(files), 4, config.image_size, config.image_size), np.uint8)
    with WorkerProcesses[PortraitSkin](make_portrait_skin, workers, "reads portraits") as processes:
        ahead: deque[Callable[[], PortraitSkin]] = deque()
        for number in range(len(files)):
            while len(ahead) < _AHEAD_PER_WORKER * workers and number + len(ahead) < len(files):
                ahead.append(processes.submit(files[number + len(ahead)]))
            portrait, textures[number], photographs[number] = ahead.popleft()()
            portraits.append(portrait)
    return PortraitSkins(tuple(portraits), textures, photographs, share)
