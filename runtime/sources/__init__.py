"""Sources: from a portrait to what the source encoder needs.

| module            | what it offers                                                                    |
|-------------------|-----------------------------------------------------------------------------------|
| `source`          | `Source`, the prepared portrait, and its file                                     |
| `prepare`         | `prepare_source`: the steps below in order; what `Animator.set_source` calls      |
| `alignment`       | the aligned crop of a head: its matrix, its camera, and warping a picture with it |
| `alpha`           | whether a picture's alpha channel cuts a person out                               |
| `matting`         | `cut_out_person`: which pixels of an aligned crop belong to the person            |
| `matting_network` | the network that `matting` asks, and its file                                     |
| `guided_filter`   | smooths what the network finds along the picture's edges                          |
| `cut_out`         | `person_mask`: the same without a network, by colour                              |
| `windows`         | background that the cut-out encloses, such as between hair and shoulder           |
| `background`      | `paint_background`: the crop without the person                                   |

`hidenerf.training.data.clips.preparation` uses `alignment` and `matting` for every frame of a clip.
"""
