"""Which engines there are, and the keeper that makes one when it is needed and anew when the weights change."""

from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .engine import Engine, EngineSettings, is_offloaded
from .engine_exported import OnnxRuntimeEngine, OpenVinoEngine
from .engine_torch import CompiledEngine, TorchEngine

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation


ENGINES: dict[str, type[Engine]] = {
    "torch": TorchEngine,
    "compile": CompiledEngine,
    "openvino": OpenVinoEngine,
    "onnxruntime": OnnxRuntimeEngine,
}
AUTO = "auto"  # the fastest that is installed for the model's device
ENGINE_NAMES = (*ENGINES, AUTO)


def check_engine(name: str) -> str:
    """The name, if there is such an engine.

    Raises:
        ValueError: If there is none.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"engine must be one of {', '.join(ENGINE_NAMES)}, got {name!r}")
    return name


def engine_class(name: str, model: "IfcForVideoInstanceSegmentation") -> type[Engine]:
    """The class of an engine for a model."""
    if is_offloaded(model):  # the hooks that bring the weights belong to the model's own modules
        return Engine
    if name == AUTO:
        suits_openvino = (model.device.type, model.dtype) == ("cpu", torch.float32)
        return OpenVinoEngine if has_openvino() and suits_openvino else TorchEngine
    return ENGINES[check_engine(name)]


def has_openvino() -> bool:
    """Whether OpenVINO is installed, and what exports for it."""
    return find_spec("openvino") is not None and find_spec("onnxscript") is not None


class EngineKeeper:
    """Keeps the engine of a model for all who segment with it.

    Any number of threads may ask at once. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._engine: Engine | None = None
        self._made_of: object = None

    def __deepcopy__(self, memo: object) -> "EngineKeeper":
        return EngineKeeper()

    def __reduce__(self) -> tuple[type["EngineKeeper"], tuple[()]]:
        return EngineKeeper, ()

    def engine_of(self, name: str, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> Engine:
        """The engine of this name for the model as it is now; puts the model into evaluation mode.

        Raises:
            ImportError: If the engine's runtime is not installed.
            ValueError: If the engine can't run a model of this type on this device.
        """
        with self._lock:
            if model.training:
                model.eval()
            made_of = (name, model, settings, weights_state(model))
            if self._engine is None or made_of != self._made_of:
                self._engine, self._made_of = engine_class(name, model)(model, settings), made_of
            return self._engine


def weights_state(model: nn.Module) -> tuple[list[tuple[Any, ...]], list[float]]:
    """What tells whether weights were changed: of every tensor its identity, place, type, version and sum.

    Versions do not show what is written to `parameter.data`; the sums cost about as much as a copy of the weights.
    """
    tensors = [*model.parameters(), *model.buffers()]
    sums = [tensor.detach().sum(dtype=torch.float32) for tensor in tensors if not tensor.is_meta]
    identities = [(id(tensor), tensor.device, tensor.dtype, version_of(tensor)) for tensor in tensors]
    return identities, torch.stack(sums).tolist() if sums else []


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors made in inference mode don't count."""
    return 0 if tensor.is_inference() else tensor._version


__all__ = ["ENGINE_NAMES", "EngineKeeper"]
