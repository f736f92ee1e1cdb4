"""Data sets: YouTube-VIS, OVIS and COCO readers, converters, checks and training clips."""
