"""What `ifc-hf predict` writes for a video.

```
sources --plan--> VideoTask --VideoWorker: lock, find_earlier--+--> segment --> Prediction (tracks.json)
                                                               |                     |
                                         what an earlier run left, if it still holds-+
                                                                                     v
                       replay: the video once more --> Shots --> writers, one per kind of file
                                                                 timeline, results.json over all videos
```

A camera can't be read twice: its shots go to the writers while it is segmented, with the scores known by then; `live`
follows one without end. Reading and writing run in threads of their own (`threads`).
"""
