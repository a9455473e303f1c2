"""Sources: from a portrait to what the source encoder needs.

| module       | what it offers                                                                             |
|--------------|--------------------------------------------------------------------------------------------|
| `source`     | `Source`, the prepared portrait, and its file                                              |
| `prepare`    | `prepare_source`: the steps below in order; what `Animator.set_source` calls               |
| `alignment`  | the aligned crop of a head: its matrix, its camera, and warping a picture with it          |
| `cut_out`    | `person_mask`: which pixels of an aligned crop belong to the person                        |
| `background` | `paint_background`: the crop without the person                                            |

`hidenerf.training.data.clips.preparation` uses `alignment` and `cut_out` for every frame of a clip.
"""
