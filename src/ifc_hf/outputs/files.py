"""Which outputs there are for a video, and where they lie in its folder."""

# `results` is one file for all videos.
FILES = {
    "tracks": "tracks.json",
    "masks": "masks",
    "video": "drawn.mp4",
    "gif": "drawn.gif",
    "sheet": "sheet.jpg",
    "cutouts": "cutouts",
    "timeline": "timeline.png",
}
OUTPUTS = ("tracks", "results", "masks", "video", "gif", "sheet", "cutouts", "timeline")
RESULTS_FILES = ("results.json", "videos.json")
DRAWN = ("video", "gif", "sheet")
OF_FRAMES = (*DRAWN, "masks", "cutouts")  # that are made while frames pass
