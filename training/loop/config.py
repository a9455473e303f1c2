"""Training config: length, learning rate, schedules and loss weights of a run. The model's sizes are not in it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; 0 leaves a term out. The paper does not publish its weights; these are ours.

    mse: squared colour error.
    absolute: absolute colour error.
    perceptual: `losses.structure_loss`, or `feature_losses.PerceptualLoss` if its network is given.
    sharpness: `losses.sharpness_loss` of the refined image.
    identity: `feature_losses.IdentityLoss` of the refined image; above 0 exactly if its network is given.
    surface: `losses.surface_loss`, for LED.
    place: `losses.place_loss`, of the points where rays end.
    still: `losses.still_loss`, of Δ where the expression stays.
    alpha: error of the refined and of the rendered alpha.
    deformation: mean norm of Δ.
    adversarial: loss from both discriminators.
    head: weight of a pixel of the head, added to the background's 1.
    region: weight of a pixel of mouth, eyes and brows, added to that.
    """

    mse: float = 1.0
    absolute: float = 1.0
    perceptual: float = 1.5
    sharpness: float = 0.0
    identity: float = 0.0
    surface: float = 0.0
    place: float = 0.0
    still: float = 0.0
    alpha: float = 0.5
    deformation: float = 0.02
    adversarial: float = 0.0
    head: float = 1.0
    region: float = 5.0


@dataclass(frozen=True)
class TrainingConfig:
    """Config of one run. Schedules depend on its progress in [0, 1]: the share of steps, or of seconds, that is over.

    seconds: length of the run, all sessions together; 0 if `steps` is given.
    steps: length of the run, all sessions together; 0 if `seconds` is given.
    batch_size: pairs in a batch, on each GPU.
    learning_rate: largest one.
    schedule: "cosine" falls from learning_rate to final_share of it; "constant" stays.
    warm_up: share of the progress over which the learning rate rises linearly at first.
    final_share: of learning_rate, at the end of the cosine.
    weight_decay: of AdamW.
    gradient_clip: largest norm of the gradient.
    ema_decay: decay of the EMA of the weights.
    jitter, perturbation: see `network.Noise`.
    fade: share of the progress, at the end, over which jitter and perturbation fall to 0, as they are at inference.
    adversarial_start: progress at which adversarial training begins.
    discriminator_learning_rate: constant.
    r1_weight: the R1 penalty has γ = r1_weight · pixels / batch, StyleGAN2-ADA's rule with its factor.
    r1_interval: steps from one R1 penalty to the next.
    seed: of weights, pairs and noise.
    networks: names of the networks of `HideNerf` that are trained, such as "refiner,id_encoder"; "" for all. The others
        stay as they are, their batch norms included.
    losses: weights of the loss terms.
    Errors: values outside their ranges.
    """

    seconds: float = 0.0
    steps: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warm_up: float = 0.02
    final_share: float = 0.02
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    jitter: float = 1.0
    perturbation: float = 0.005
    fade: float = 0.2
    adversarial_start: float = 0.6
    discriminator_learning_rate: float = 2e-4
    r1_weight: float = 5e-5
    r1_interval: int = 16
    seed: int = 0
    networks: str = ""
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        """Check the values."""
        shares = ("warm_up", "final_share", "ema_decay", "jitter", "fade", "adversarial_start")
        rules = {
            "give either seconds or steps, above 0": (self.seconds > 0) != (self.steps > 0),
            "seconds and steps must not be negative": self.seconds >= 0 and self.steps >= 0,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate and discriminator_learning_rate must be above 0": min(
                self.learning_rate, self.discriminator_learning_rate
            )
            > 0,
            "schedule must be 'cosine' or 'constant'": self.schedule in ("cosine", "constant"),
            "gradient_clip must be above 0": self.gradient_clip > 0,
            "r1_interval must be at least 1": self.r1_interval >= 1,
            "seed must lie in [0, 2³²)": 0 <= self.seed < 2**32,
            "weight_decay, perturbation and r1_weight must not be negative": min(
                self.weight_decay, self.perturbation, self.r1_weight
            )
            >= 0,
            f"{', '.join(shares)} must lie in [0, 1]": all(0 <= getattr(self, name) <= 1 for name in shares),
            "loss weights must not be negative": all(value >= 0 for value in dataclasses.asdict(self.losses).values()),
        }
        for rule, holds in rules.items():
            if not holds:
                raise HideNerfError(f"Training config: {rule}; correct the config or the option.")

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values; `from_dict` is the inverse."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrainingConfig":
        """The config of JSON values; missing entries get their defaults. Errors: an unknown entry or a wrong type."""
        checked = _checked(TrainingConfig, values, "training config")
        if "losses" in checked:
            checked["losses"] = LossWeights(**_checked(LossWeights, checked["losses"], "config's losses"))
        return TrainingConfig(**checked)


def read_config(path: Path) -> dict[str, Any]:
    """Read the JSON object of a config file, for `TrainingConfig.from_dict`. Errors: no such file, no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HideNerfError(f"{path}: cannot read the training config ({error.strerror}); check the path.") from None
    except ValueError as error:
        raise HideNerfError(f"{path}: the training config is not JSON ({error}); correct it.") from None
    if not isinstance(values, dict):
        raise HideNerfError(f"{path}: the training config must be a JSON object; put its entries in {{…}}.")
    return values


def _checked(kind: type, values: dict[str, Any], what: str) -> dict[str, Any]:
    """The entries of `values`, with integers for floats converted. Errors: an unknown entry or a wrong type."""
    if not isinstance(values, dict):
        raise HideNerfError(f"The {what} must be a JSON object, not {values!r}; correct it.")
    defaults = {
        entry.name: entry.default if entry.default is not dataclasses.MISSING else {}
        for entry in dataclasses.fields(kind)
    }
    checked = {}
    for name, value in values.items():
        if name not in defaults:
            raise HideNerfError(f"The {what} has an unknown entry {name!r}; known are {', '.join(defaults)}.")
        default = defaults[name]
        number = type(value) is int or (type(value) is float and isinstance(default, float))
        if not (number if isinstance(default, (int, float)) else isinstance(value, type(default))):
            raise HideNerfError(f"The {what}'s {name} is {value!r}; it must be a {type(default).__name__}.")
        checked[name] = float(value) if isinstance(default, float) else value
    return checked
