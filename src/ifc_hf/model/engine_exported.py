"""Engines that hand backbone and window to another runtime: OpenVINO or ONNX Runtime, on the CPU in float32.

```
FrameNetwork, WindowNetwork --trace, once for these weights--> ONNX with free sizes, kept on disk --load--> runtime
```

The mask head stays in PyTorch, which is as fast there.
"""

import tempfile
from abc import abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .engine import EngineSettings
from .engine_cache import cached, fingerprint
from .engine_torch import FrameNetwork, TorchEngine, WindowNetwork
from .fused_convolution import fold_batch_norms
from .graphs import Axes, trace, write_onnx

if TYPE_CHECKING:
    from .modeling_ifc import IfcForVideoInstanceSegmentation

Arrays = list[np.ndarray]
Run = Callable[[Arrays], Arrays]
FRAME_AXES: Axes = {"frames": {0: "F", 2: "H", 3: "W"}}
WINDOW_AXES: Axes = {"tokens": {0: "B", 1: "T", 2: "N"}, "position": {0: "N"}}


class ExportedEngine(TorchEngine):
    """An engine whose networks run elsewhere.

    Raises:
        ValueError: If the model isn't on the CPU in float32.
    """

    extra: str  # of the package, with the libraries that the engine needs

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        if (model.device.type, model.dtype) != ("cpu", torch.float32):
            raise ValueError(
                f"{type(self).__name__}: expected a model on the CPU in float32, got {model.device} and {model.dtype} "
                "(engine='torch' takes every model)"
            )
        super().__init__(model, settings)

    def prepare_networks(self) -> None:
        """See `TorchEngine`."""
        folder = fingerprint(self.model)
        name = "frames_split.onnx" if self.splits_mask_head else "frames.onnx"
        self.run_frames = self.load(cached(folder, name, self.export_frames))
        self.run_window = self.load(cached(folder, "window.onnx", self.export_window))

    def export_frames(self) -> bytes:
        """`FrameNetwork` in ONNX."""
        model = self.model.model
        network = FrameNetwork(model, fold_batch_norms(model.backbone), self.mask_head, self.splits_mask_head)
        return onnx_bytes(
            network, {"frames": torch.zeros(2, 3, 71, 130)}, FRAME_AXES, ["tokens", "map_8", "map_16"], self.extra
        )

    def export_window(self) -> bytes:
        """`WindowNetwork` in ONNX."""
        position = self.position((3, 5)).clone()
        tokens = torch.zeros(2, 3, *position.shape)
        example = {"tokens": tokens, "position": position}
        return onnx_bytes(
            WindowNetwork(self.model.model), example, WINDOW_AXES, ["queries", "encoded_tokens"], self.extra
        )

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `TorchEngine`."""
        tokens, map_8, map_16 = map(torch.from_numpy, self.run_frames([frames.contiguous().numpy()]))
        channels_last = torch.channels_last
        return tokens, map_8.contiguous(memory_format=channels_last), map_16.contiguous(memory_format=channels_last)

    def encode(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """See `TorchEngine`."""
        queries, encoded_tokens = map(torch.from_numpy, self.run_window([tokens.numpy(), position.numpy()]))
        return queries, encoded_tokens

    @abstractmethod
    def load(self, onnx_model: bytes) -> Run:
        """Makes the runtime's own of a network in ONNX; the result may be called from several threads at once."""


class OpenVinoEngine(ExportedEngine):
    """Backbone and window in OpenVINO, which compiles them once for every size of frames and length of windows.

    Raises:
        ImportError: If OpenVINO is not installed, or what exports to ONNX where it is needed.
    """

    extra = "openvino"
    precision = "f32"  # its default may be bfloat16

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError('engine="openvino" needs OpenVINO: pip install "ifc_hf[openvino]"') from error
        self.core = openvino.Core()
        super().__init__(model, settings)

    def load(self, onnx_model: bytes) -> Run:
        """See `ExportedEngine`."""
        graph = self.core.read_model(onnx_model)
        compiled: dict[tuple[Any, ...], Any] = {}
        lock = Lock()
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }

        def run(inputs: Arrays) -> Arrays:
            shapes = tuple(array.shape for array in inputs)
            with lock:
                if shapes not in compiled:
                    of_this_size = graph.clone()
                    of_this_size.reshape(dict(enumerate(shapes)))  # fixed sizes make it faster
                    compiled[shapes] = self.core.compile_model(of_this_size, "CPU", options)
            request = compiled[shapes].create_infer_request()  # one for each call: threads share the network
            return [np.array(output) for output in request.infer(inputs).values()]

        return run


class OnnxRuntimeEngine(ExportedEngine):
    """Backbone and window in ONNX Runtime.

    Raises:
        ImportError: If ONNX Runtime is not installed, or what exports to ONNX where it is needed.
    """

    extra = "export"

    def __init__(self, model: "IfcForVideoInstanceSegmentation", settings: EngineSettings) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError('engine="onnxruntime" needs ONNX Runtime: pip install "ifc_hf[export]"') from error
        self.runtime = onnxruntime
        super().__init__(model, settings)

    def load(self, onnx_model: bytes) -> Run:
        """See `ExportedEngine`."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = self.runtime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def onnx_bytes(
    network: nn.Module, example: dict[str, Tensor], axes: Axes, output_names: list[str], extra: str
) -> bytes:
    """A network in ONNX, its sizes free.

    Raises:
        ImportError: If what exports to ONNX is not installed; the message names the extra.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f'to export the network needs {", ".join(missing)}: pip install "ifc_hf[{extra}]"')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        write_onnx(trace(network, example, axes), file, output_names, axes)
        return file.read_bytes()


__all__ = ["OnnxRuntimeEngine", "OpenVinoEngine"]
