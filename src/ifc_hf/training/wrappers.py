"""The model underneath what adapts, compiles, distributes or shards it."""

from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict


def network_of(model: nn.Module) -> Any:
    """The `IfcForVideoInstanceSegmentation` in what PEFT, DDP and torch.compile have wrapped, in any order.

    FSDP changes a model's class and parameters in place: there is nothing to unwrap.

    Args:
        model: As the trainer or its caller holds it.

    Raises:
        TypeError: If there is no such model in it.
    """
    network: Any = model
    while not is_network(network):
        if hasattr(network, "_orig_mod"):  # torch.compile
            network = network._orig_mod
        elif hasattr(network, "get_base_model"):  # PEFT; layers in the base model stay adapted
            network = network.get_base_model()
        elif "base_model" in network._modules:  # PEFT with adapters of several kinds
            network = network.base_model.model
        elif isinstance(getattr(network, "module", None), nn.Module):  # DDP, FSDP 1
            network = network.module
        else:
            raise TypeError(
                f"expected an IfcForVideoInstanceSegmentation, bare or wrapped, got {type(network).__name__}"
            )
    return network


def is_network(model: nn.Module) -> bool:
    """Whether this is the model itself; by its parts, as code from a Hub folder and FSDP have classes of their own."""
    return all(name in model._modules for name in ("model", "class_head")) and hasattr(type(model), "config_class")


def bare_model(model: nn.Module) -> Any:
    """The model without what distributes it, as the trainer distributes by itself; PEFT's adapters stay.

    A model that `torch.compile` has wrapped is compiled in place, with the same settings: so its tensors keep the
    names that checkpoints have.
    """
    bare: Any = model
    compiler = None
    while hasattr(bare, "_orig_mod") or type(bare).__name__ in ("DistributedDataParallel", "DataParallel"):
        if hasattr(bare, "_orig_mod"):
            compiler, bare = getattr(bare, "dynamo_ctx", None), bare._orig_mod
        else:
            bare = bare.module
    if compiler is not None:
        bare._compiled_call_impl = compiler(bare._call_impl)
    return bare


def whole_copy(model: Any) -> Any:
    """A copy of a sharded model's network with all of its weights; all processes take part."""
    tensors = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    network = network_of(model)
    copy = type(network)(network.config)
    if hasattr(model, "peft_config"):
        from peft import get_peft_model

        copy = get_peft_model(copy, model.peft_config[model.active_adapter])
    copy.load_state_dict(tensors)
    return network_of(copy)
