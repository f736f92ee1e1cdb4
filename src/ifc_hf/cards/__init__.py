"""Model cards: the template, those of the published checkpoints, that of a training."""
