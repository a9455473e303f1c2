"""Where motion comes from: motion files, ARKit takes, Deep3DFaceRecon coefficients, pictures, clips and cameras."""

from hidenerf.runtime.drivers.open import check_face_model, open_driver

__all__ = ["check_face_model", "open_driver"]
