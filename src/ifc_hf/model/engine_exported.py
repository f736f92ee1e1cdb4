"""Engines that hand backbone and window to another runtime: OpenVINO or ONNX Runtime, on the CPU in float32.

Each network is exported to ONNX once for every size of frames and length of windows. The mask head stays in PyTorch,
which is as fast there.
"""

import copy
import io
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .engine import EngineSettings
from .engine_torch import TorchEngine

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
INPUTS = "inputs"  # name of a network's input in ONNX


class ExportedEngine(TorchEngine):
    """An engine whose networks run elsewhere.

    Raises:
        ValueError: If the model isn't on the CPU in float32.
    """

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        if (model.device.type, model.dtype) != ("cpu", torch.float32):
            raise ValueError(
                f"{type(self).__name__}: expected a model on the CPU in float32, got {model.device} and {model.dtype} "
                "(engine='torch' takes every model)"
            )
        # A copy, for exporters want weights without gradients.
        super().__init__(copy.deepcopy(model).requires_grad_(False), settings)
        self._lock = Lock()
        self._networks: dict[tuple[Any, ...], Run] = {}

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `TorchEngine`."""
        tokens, map_8, map_16 = self.run("frames", super().frame_maps, frames.contiguous())
        channels_last = torch.channels_last
        return tokens, map_8.contiguous(memory_format=channels_last), map_16.contiguous(memory_format=channels_last)

    def encode(self, tokens: Tensor, map_size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See `TorchEngine`."""
        encode = super().encode
        queries, maps = self.run(f"window {map_size_hw}", lambda tokens: encode(tokens, map_size_hw), tokens)
        return queries, maps

    def run(self, name: str, function: Callable[[Tensor], tuple[Tensor, ...]], inputs: Tensor) -> list[Tensor]:
        """Outputs of a function of one tensor, which is exported when a shape comes for the first time."""
        key = (name, *inputs.shape)
        with self._lock:
            if key not in self._networks:
                file: Any = io.BytesIO()  # annotated as if it had to be a path
                # Not in inference mode: a tracer may not look into such tensors.
                with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the tracer: sizes are constants here, as they shall be
                    example = (torch.zeros(inputs.shape),)
                    torch.onnx.export(Network(function).eval(), example, file, dynamo=False, input_names=[INPUTS])
                self._networks[key] = self.load(file.getvalue())
        return [torch.from_numpy(np.array(output)) for output in self._networks[key](inputs.numpy())]

    @abstractmethod
    def load(self, onnx_model: bytes) -> Run:
        """Makes the runtime's own of a network in ONNX; the result may be called from several threads at once."""


class OpenVinoEngine(ExportedEngine):
    """Backbone and window in OpenVINO.

    Raises:
        ImportError: If OpenVINO is not installed.
    """

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError('engine="openvino" needs OpenVINO: pip install "ifc_hf[openvino]"') from error
        super().__init__(model, settings)
        self.core = openvino.Core()

    def load(self, onnx_model: bytes) -> Run:
        """See `ExportedEngine`."""
        compiled = self.core.compile_model(
            self.core.read_model(io.BytesIO(onnx_model)),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",  # its default may be bfloat16
            },
        )

        def run(inputs: np.ndarray) -> list[np.ndarray]:
            request = compiled.create_infer_request()  # one for each call: threads share the network
            return list(request.infer([inputs]).values())

        return run


class OnnxRuntimeEngine(ExportedEngine):
    """Backbone and window in ONNX Runtime.

    Raises:
        ImportError: If ONNX Runtime, or what exports to ONNX, is not installed.
    """

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError('engine="onnxruntime" needs ONNX Runtime: pip install "ifc_hf[export]"') from error
        super().__init__(model, settings)
        self.runtime = onnxruntime

    def load(self, onnx_model: bytes) -> Run:
        """See `ExportedEngine`."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = self.runtime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, {INPUTS: inputs})


class Network(nn.Module):
    """A function of one tensor as a module, which is what exporters take."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """What the function gives."""
        return tuple(self.function(inputs))


__all__ = ["OnnxRuntimeEngine", "OpenVinoEngine"]
