"""What a checkpoint carries to the Hub: the network, its processor, and all that segments a video with them.

Flat files with relative imports only. This folder is the list of what is copied; this file alone stays behind.
"""
