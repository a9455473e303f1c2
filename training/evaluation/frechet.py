"""FID: Fréchet distance of two sets of images, in the features of the user's Inception network."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hidenerf.training.evaluation.features import FeatureNetwork

INCEPTION_SIZE = 299


def inception_network(path: Path) -> FeatureNetwork:
    """Load an Inception network [B, 3, 299, 299] in [-1, 1] → [B, D]; pytorch-fid's has D = 2048."""
    return FeatureNetwork(path, [INCEPTION_SIZE], "--inception", "an Inception network")


def inception_features(network: FeatureNetwork, images: Tensor) -> NDArray[np.float64]:
    """Features [B, D] of images [B, 3, H, W] in [0, 1].

    The images are resized bilinearly and scaled to [-1, 1], as in pytorch-fid.
    """
    enlarged = F.interpolate(images, size=(INCEPTION_SIZE, INCEPTION_SIZE), mode="bilinear", align_corners=False)
    return network((2 * enlarged - 1).float().cpu().numpy())


def frechet_distance(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """‖m₁ − m₂‖² + Tr(C₁ + C₂ − 2 (C₁C₂)^½) of the Gaussians with the means and covariances of features [n, D], [m, D].

    Heusel et al. 2017, in FP64; covariances are over n - 1, as pytorch-fid's. Both n and m are at least 2. With centred
    features A = √(n−1) C^½ the root's trace is the nuclear norm of A₁A₂ᵀ / √((n−1)(m−1)), also for fewer images than
    dimensions, where a matrix root is ill-conditioned.
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    centred = [(values - values.mean(axis=0)) / np.sqrt(len(values) - 1) for values in (x, y)]
    root_trace = np.linalg.norm(centred[0] @ centred[1].T, "nuc")
    spread = sum(float(np.square(values).sum()) for values in centred)
    return float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + spread - 2 * root_trace)
