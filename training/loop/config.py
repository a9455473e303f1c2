"""Training config: what a run does, beyond the sizes of the model."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; 0 leaves a term out. The paper publishes none, so all are ours.

    mse, absolute: squared and absolute colour error. perceptual: `losses.structure_loss`, or VGG features where a VGG
    is given. sharpness: `losses.sharpness_loss`, of the refined image. surface: `losses.surface_loss`, of LED. place:
    `losses.place_loss`, of where the rays end. alpha: of the refined and the rendered alpha against the mask.
    deformation: mean norm of Δ. adversarial: of both discriminators. head, region: weight that a pixel of the head, and
    one of mouth, eyes and brows, has on top of the background's 1.
    """

    mse: float = 1.0
    absolute: float = 1.0
    perceptual: float = 1.5
    sharpness: float = 0.0
    surface: float = 0.0
    place: float = 0.0
    alpha: float = 0.5
    deformation: float = 0.02
    adversarial: float = 0.0
    head: float = 1.0
    region: float = 5.0


@dataclass(frozen=True)
class TrainingConfig:
    """One run. All schedules follow its progress in [0, 1]: the share of steps done, or of seconds spent.

    Exactly one of seconds and steps is not 0; both count all sessions of a run together. schedule: "cosine" falls from
    learning_rate to final_share of it, "constant" stays; both rise over the first warm_up of the progress.
    discriminator_*: adversarial training begins at adversarial_start, R1 is taken every r1_interval steps with γ =
    r1_weight · pixels / batch (StyleGAN2-ADA's rule with its factor). jitter, perturbation: see
    `network.training_forward`; both fade out over the last `fade` of the progress, so that the network ends on the
    very points that it will see. ema_decay: decay of the EMA of the weights.
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
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
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
        """Plain JSON values; `from_dict` is the inverse."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrainingConfig":
        """The config in `values`; entries left out keep their defaults, unknown or ill-typed ones are named."""
        checked = _checked(TrainingConfig, values, "training config")
        if "losses" in checked:
            checked["losses"] = LossWeights(**_checked(LossWeights, checked["losses"], "config's losses"))
        return TrainingConfig(**checked)


def read_config(path: Path) -> dict[str, Any]:
    """A training config file's JSON object, for `TrainingConfig.from_dict`."""
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
