"""Drivers: where motion comes from. `registry` lists the kinds, `base` has the protocol."""

from hidenerf.runtime.drivers.open import check_face_model, open_driver

__all__ = ["check_face_model", "open_driver"]
