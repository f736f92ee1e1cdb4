"""The authors' checkpoints and ours, in both directions."""

from .backbone_weights import find_packaged_weights, load_backbone_weights
from .checkpoint_files import CheckpointError, read_checkpoint
from .convert import convert_checkpoint, make_config, write_original_checkpoint
from .name_map import convert_state_dict, to_original_state_dict

__all__ = [
    "CheckpointError",
    "convert_checkpoint",
    "convert_state_dict",
    "find_packaged_weights",
    "load_backbone_weights",
    "make_config",
    "read_checkpoint",
    "to_original_state_dict",
    "write_original_checkpoint",
]
