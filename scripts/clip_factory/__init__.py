"""Composing clips with exact masks out of pictures from package registries."""
