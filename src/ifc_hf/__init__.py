"""IFC (Inter-Frame Communication Transformers) for video instance segmentation, as a Transformers package."""
