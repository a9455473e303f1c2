import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from hidenerf.training.data.synthetic.photo_settings import PHOTO_SIZES, pack_photo, random_photo, untouched
from hidenerf.training.data.synthetic.photography import Camera

SIZE = 64


def settings(count: int = 1, **changes: float | list[float]) -> dict[str, Tensor]:
    """Those of pictures that the camera leaves alone, but for the changes."""
    values = {name: torch.from_numpy(setting).expand(count, -1).clone() for name, setting in untouched().items()}
    values["noise_place"] = values["noise_place"][:, :2]
    for name, value in changes.items():
        values[name][:] = torch.tensor(value)
    return values


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(torch.device("cpu"))


def picture(count: int = 1) -> tuple[Tensor, Tensor]:
    """Smooth colours in a soft disc."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    mask = np.clip((0.4 - np.hypot(x - 0.5, y - 0.5)) * 20, 0, 1)
    color = np.stack([0.3 + 0.4 * x, 0.5 + 0.2 * np.sin(9 * y), 0.6 - 0.3 * x * y]) * mask
    return (
        torch.from_numpy(color).float().expand(count, -1, -1, -1),
        torch.from_numpy(mask).float().expand(count, 1, -1, -1),
    )


def test_an_untouched_picture_stays_as_it_is(camera: Camera) -> None:
    color, mask = picture()
    torch.testing.assert_close(camera.take(color, mask, settings()), color, atol=2e-3, rtol=0)


def test_nothing_leaves_the_mask(camera: Camera) -> None:
    random = np.random.default_rng(0)
    color, mask = picture(8)
    photos = [random_photo(random) for _ in range(8)]
    values = {name: torch.from_numpy(np.stack([photo[name] for photo in photos])) for name in PHOTO_SIZES}
    values["noise_place"] = values["noise_place"][:, :2]
    taken = camera.take(color, mask, values)
    assert (taken <= mask).all()
    assert (taken >= 0).all()
    assert taken.isfinite().all()
    # Each picture is the same whatever it is taken with.
    alone = camera.take(color[3:4], mask[3:4], {name: value[3:4] for name, value in values.items()})
    torch.testing.assert_close(alone[0], taken[3], atol=1e-5, rtol=0)


def test_grading_is_what_it_says(camera: Camera) -> None:
    color, mask = picture()
    inside = (mask == 1).expand_as(color)
    graded = camera.take(color, mask, settings(gamma=1.2, gain=0.9, gain_of_colour=[1.0, 0.9, 0.8]))
    expected = (color**1.2 * 0.9 * torch.tensor([1.0, 0.9, 0.8])[:, None, None]).clamp(0, 1)
    torch.testing.assert_close(graded[inside], expected[inside], atol=2e-3, rtol=0)
    grey = camera.take(color, mask, settings(saturation=0.0))
    assert (grey.amax(1) - grey.amin(1))[mask[:, 0] == 1].max() < 2e-3


def test_noise_has_its_deviation_and_its_place(camera: Camera) -> None:
    mask = torch.ones(1, 1, SIZE, SIZE)
    grey = torch.full((1, 3, SIZE, SIZE), 0.5)
    one = camera.take(grey, mask, settings(noise=0.02))
    assert float((one - grey).std()) == pytest.approx(0.02, rel=0.1)
    assert abs(float((one - grey).mean())) < 2e-3
    assert torch.equal(one, camera.take(grey, mask, settings(noise=0.02)))
    other = camera.take(grey, mask, settings(noise=0.02, noise_place=[0.7, 0.9]))
    correlation = np.corrcoef((one - grey).flatten(), (other - grey).flatten())[0, 1]
    assert abs(correlation) < 0.05


def test_blur_is_a_gaussian(camera: Camera) -> None:
    color = torch.zeros(1, 3, SIZE, SIZE)
    color[..., SIZE // 2, SIZE // 2] = 1
    taken = camera.take(color, torch.ones(1, 1, SIZE, SIZE), settings(blur=0.7))[0, 0].numpy()
    kernel = cv2.getGaussianKernel(5, 0.7)
    part = taken[SIZE // 2 - 2 : SIZE // 2 + 3, SIZE // 2 - 2 : SIZE // 2 + 3]
    np.testing.assert_allclose(part, kernel @ kernel.T, atol=1e-4)


@pytest.mark.parametrize("quality", [40, 70, 92])
def test_compression_is_jpeg_s(camera: Camera, quality: int) -> None:
    random = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(random.random((SIZE, SIZE, 3)), (0, 0), 2)
    pixels = np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    options = (
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )
    decoded = cv2.imdecode(cv2.imencode(".jpg", pixels, options)[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    given = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    taken = camera.take(given, torch.ones(1, 1, SIZE, SIZE), settings(quality=float(quality)))
    found = 255 * taken[0].permute(1, 2, 0).numpy()[..., ::-1]
    lost = np.abs(decoded.astype(float) - pixels).mean()
    # A coefficient halfway between two steps may go either way.
    assert np.abs(found - decoded).mean() < 0.4 * lost + 0.3


def test_settings_are_packed_in_their_order() -> None:
    photo = random_photo(np.random.default_rng(0))
    assert set(photo) == set(PHOTO_SIZES) == set(untouched())
    packed = pack_photo(photo)
    assert packed.shape == (sum(PHOTO_SIZES.values()),)
    assert packed[0] == photo["gamma"][0]
    assert packed[-1] == photo["quality"][0]
