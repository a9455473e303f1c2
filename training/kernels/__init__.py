"""Triton kernels of training on a GPU, and what runs through them. Without Triton or a GPU the model's own code runs.

`Trainer` puts them into the model by `use_fast_sampling`, `use_fast_volumes` and `use_fused_norms`:

- norm: `ConvBlock`, `ResidualBlock` and `SpadeBlock`, and so SPADE, as their subclasses `Fused…`. The modules of a
  model keep their weights and names: each is given the subclass (`module.__class__ = …`), which differs in `forward`.
- volume: `VolumeHead` as `FastVolumeHead`, likewise.
- sampling: `CameraToWorld` exchanged for `FastCameraToWorld`; and `plane_features`, which `loop.network.render` calls.
- field: MLP and compositing, `render_field`, which `loop.network.render` calls.

`…_kernels` are the kernels themselves, `triton_use` decides whether they run.
"""
