import numpy as np

from hidenerf.runtime.tracking.amplitudes import amplified


def test_blinks_and_puckers_are_amplified_up_to_one() -> None:
    names = ("eyeBlinkLeft", "jawOpen", "mouthPucker", "eyeBlinkRight", "eyeWideLeft")
    found = amplified(np.array([0.3, 0.5, 0.8, 0.9, 0.2], np.float32), names)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.399, 0.5, 1.0, 1.0, 0.2], atol=1e-6)


def test_other_face_models_have_no_such_actions() -> None:
    scores = np.linspace(0, 1, 4, dtype=np.float32)
    assert np.array_equal(amplified(scores, tuple(f"exp_{number}" for number in range(4))), scores)
