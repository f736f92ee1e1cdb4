"""What `ifc-hf predict` writes for a video.

```
VideoSource --segmenting.segment--> Prediction (tracks.json) --replay: the video once more--> Shots --> writers
                                         |                                                         one per kind of file
                                         +--> timeline, results.json over all videos
```

A camera can't be read twice: its shots go to the writers while it is segmented, with the scores known by then.
"""
