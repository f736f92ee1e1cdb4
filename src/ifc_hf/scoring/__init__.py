"""Scores of a model: its tracks of a data set's videos, the files and the pictures of a score."""
