"""The network as a file that runs without this package: ONNX, OpenVINO, torch.export, AOTInductor.

    checkpoint --torch.export, dynamic sizes--> program --+--> model.onnx  onnxruntime, without torch
                                                          |      +--> model.xml, model.bin  OpenVINO
                                                          +--> model.pt2   torch.export.load
                                                          +--> model.pt2   compiled, aoti_load_package
                                                                  |
                              compared with the network on clips of the sample video; only then moved into place

The file takes `pixel_values` (B, T, 3, H, W) float32 and, if asked for, `pixel_mask` (B, T, H, W) bool, and gives
`class_queries_logits` (B, Q, K+1) and `masks_queries_logits` (B, Q, T, h, w). Beside it lie `config.json` (classes,
window), `preprocessor_config.json` and `export.json` (what it was made from, and how exact it is).

Letters: B clips, T frames of a clip, Q queries, K classes, (H, W) frame size, (h, w) = (ceil(H/8), ceil(W/8)).
"""

import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import whole_folder
from .loading import load_checkpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation

FILE_NAMES = {"onnx": "model.onnx", "openvino": "model.xml", "torch-export": "model.pt2", "aoti": "model.pt2"}
FORMATS = tuple(FILE_NAMES)
OUTPUT_NAMES = ("class_queries_logits", "masks_queries_logits")
AXES = {"pixel_values": {0: "B", 1: "T", 3: "H", 4: "W"}, "pixel_mask": {0: "B", 1: "T", 2: "H", 3: "W"}}
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
EXTRAS = {"onnx": "export", "openvino": "openvino"}
FORMATS_WITH_SMALL_WEIGHTS = tuple(PACKAGES)
# Largest difference of a logit, as a share of the largest logit: rounding of float32, and of weights to float16.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2}

Inputs = dict[str, "Tensor"]
Runner = Callable[[Inputs], "tuple[Tensor, Tensor]"]


@dataclass
class ExportReport:
    """Content of `export.json`.

    Attributes:
        checkpoint: What was exported.
        format: One of `FORMATS`.
        input_shapes: By input; letters are free.
        weights: How the weights are stored, float32 or float16.
        max_difference: Largest difference of a logit from PyTorch's, as a share of the largest logit.
        tolerance: What it had to stay below.
        checked_shapes: `pixel_values` of the clips of the check.
        file_bytes: Size of the file; of OpenVINO's two together.
        versions: Of the packages that made it.
    """

    checkpoint: str
    format: str
    input_shapes: dict[str, list[int | str]]
    weights: str
    max_difference: float
    tolerance: float
    checked_shapes: list[list[int]]
    file_bytes: int
    versions: dict[str, str]


def export_model(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    export_format: str = "onnx",
    size_hw: tuple[int, int] | None = None,
    num_frames: int | None = None,
    has_mask: bool = False,
    weights: str = "float32",
    report_step: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Exports a checkpoint, compares the file with the network, and only then puts it into place.

    Args:
        checkpoint: Folder or Hub id.
        output: Folder to make.
        export_format: "onnx", "openvino", "torch-export" or "aoti".
        size_hw: Fixes H and W, together with `num_frames`, and B to 1; None: all four are free.
        num_frames: Fixes T.
        has_mask: Whether the file takes a `pixel_mask`, which batches of clips of several sizes need.
        weights: "float32", or for ONNX and OpenVINO "float16": stored in half the space, computed with in float32.
        report_step: Told what happens next.

    Returns:
        What was written and how exact it is.

    Raises:
        ValueError: If options don't go together, the checkpoint is another model's, or the file differs from the
            network by more than the tolerance: nothing is left then.
        ImportError: If packages of the format are missing.
        OSError: If the checkpoint is missing, the output exists or can't be written.
    """
    check_options(export_format, size_hw, num_frames, weights)
    check_tools(export_format)
    with whole_folder(output, must_be_new=True) as folder:
        model, processor = load_checkpoint(checkpoint)
        clips = sample_clips(processor, model.config.num_frames, size_hw, num_frames, has_mask)
        file = folder / FILE_NAMES[export_format]
        report_step("tracing")
        program = trace(model, clips[0] if size_hw else trace_example(has_mask), is_dynamic=size_hw is None)
        report_step("writing")
        write_program(program, export_format, file, is_dynamic=size_hw is None, weights=weights)
        report_step("comparing with PyTorch")
        difference = max_difference(model, make_runner(export_format, file), clips)
        if not difference <= TOLERANCES[weights]:  # NaN is no success
            raise ValueError(
                f"the exported network differs from PyTorch's by {difference:.1e} of the largest logit, more than the "
                f"tolerance of {TOLERANCES[weights]:.0e}: nothing was written"
            )
        report = ExportReport(
            checkpoint=str(checkpoint),
            format=export_format,
            input_shapes={name: input_shape(name, value, size_hw is None) for name, value in clips[0].items()},
            weights=weights,
            max_difference=difference,
            tolerance=TOLERANCES[weights],
            checked_shapes=[list(clip["pixel_values"].shape) for clip in clips],
            file_bytes=sum(part.stat().st_size for part in folder.glob("model.*")),
            versions=package_versions(export_format),
        )
        # Not save_pretrained: it would add the package's code, which nothing here needs.
        model.config.to_json_file(folder / "config.json")
        processor.to_json_file(folder / "preprocessor_config.json")
        (folder / "export.json").write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    return report


def check_options(export_format: str, size_hw: tuple[int, int] | None, num_frames: int | None, weights: str) -> None:
    """Refuses options of `export_model` that don't go together.

    Raises:
        ValueError: Says what was expected.
    """
    if export_format not in FORMATS:
        raise ValueError(f"expected a format of {', '.join(FORMATS)}, got {export_format!r}")
    if (size_hw is None) != (num_frames is None):
        raise ValueError("a fixed size needs both the height and width and the number of frames")
    if weights not in TOLERANCES:
        raise ValueError(f"expected weights of {', '.join(TOLERANCES)}, got {weights!r}")
    if weights != "float32" and export_format not in FORMATS_WITH_SMALL_WEIGHTS:
        names = ", ".join(FORMATS_WITH_SMALL_WEIGHTS)
        raise ValueError(f"only files of the formats {names} can hold {weights} weights, not {export_format}")
    # torch 2.13 stops with "ValueRangeError: Invalid ranges [0:-1]" at the first convolution of the mask head.
    if export_format == "aoti" and size_hw is None:
        raise ValueError(
            "AOTInductor can't compile this network for free sizes: fix them (--size 360x640 --num-frames 5), or use "
            "the format torch-export"
        )


def check_tools(export_format: str) -> None:
    """Looks for what a format needs, before the work.

    Raises:
        ImportError: If packages are missing.
        OSError: If there is no compiler.
    """
    missing = [name for name in PACKAGES.get(export_format, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'the format {export_format} needs {", ".join(missing)}: pip install "ifc_hf[{EXTRAS[export_format]}]"'
        )
    if export_format == "aoti" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise OSError("AOTInductor needs a C++ compiler: install g++ or clang++, or name one in CXX")


def sample_clips(
    processor: "IfcImageProcessor",
    model_num_frames: int,
    size_hw: tuple[int, int] | None,
    num_frames: int | None,
    has_mask: bool,
) -> list[Inputs]:
    """Two inputs from the shipped film clip; where sizes are free, they differ in B, T, H and W.

    Args:
        processor: That of the checkpoint.
        model_num_frames: T that the model was trained with.
        size_hw: Fixed H, W.
        num_frames: Fixed T.
        has_mask: Whether to return the mask; a masked clip with free sizes has padding.
    """
    from .model.video_files import read_frames
    from .samples import sample_clip

    frames = list(read_frames(sample_clip()))
    if size_hw is not None and num_frames is not None:
        size = {"height": size_hw[0], "width": size_hw[1]}
        chosen = [frames[:num_frames], frames[-num_frames:]]
        batches = [processor([part], do_resize=True, size=size) for part in chosen]
    else:
        T = min(model_num_frames, len(frames) - 1)
        first = processor([frames[:T]])
        height, width = (2 * edge // 3 for edge in first["pixel_values"].shape[-2:])
        pad_size = {"height": height + 33, "width": width + 40} if has_mask else None
        second = processor(
            [frames[: T + 1], frames[-T - 1 :]],
            do_resize=True, size={"height": height, "width": width}, pad_size=pad_size,
        )  # fmt: skip
        batches = [first, second]
    names = ("pixel_values", "pixel_mask") if has_mask else ("pixel_values",)
    return [{name: batch[name] for name in names} for batch in batches]


def trace_example(has_mask: bool) -> Inputs:
    """Inputs to trace free sizes with: no two alike, and none 1, which would be taken for constant."""
    import torch

    B, T, H, W = 2, 3, 71, 130
    example = {"pixel_values": torch.zeros(B, T, 3, H, W)}
    if has_mask:
        example["pixel_mask"] = torch.ones(B, T, H, W, dtype=torch.bool)
    return example


def trace(
    model: "IfcForVideoInstanceSegmentation", example: Inputs, is_dynamic: bool
) -> "torch.export.ExportedProgram":
    """The graph of the forward pass, from the inputs by name to a tuple of the two outputs.

    Args:
        model: The network.
        example: Inputs that the graph is recorded with.
        is_dynamic: Whether B, T, H and W stay free.
    """
    import torch

    from .model import graphs

    class ClipForward(torch.nn.Module):
        """The two outputs that make up the result, alone."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, pixel_values: "Tensor", pixel_mask: "Tensor | None" = None) -> "tuple[Tensor, Tensor]":
            outputs = self.network(pixel_values, pixel_mask)
            return outputs.class_queries_logits, outputs.masks_queries_logits

    return graphs.trace(ClipForward(), example, AXES if is_dynamic else None)


def write_program(
    program: "torch.export.ExportedProgram",
    export_format: str,
    file: Path,
    is_dynamic: bool,
    weights: str = "float32",
) -> None:
    """Writes a traced program in one of the formats.

    Raises:
        ValueError: If the compiler fails.
    """
    import torch

    from .model import graphs

    axes = AXES if is_dynamic else None
    # Into memory first: where it can't write a file to its end, PyTorch ends the whole process.
    content = io.BytesIO()
    if export_format == "torch-export":
        torch.export.save(program, content)
        file.write_bytes(content.getbuffer())
    elif export_format == "aoti":
        try:
            with graphs.quiet():
                torch._inductor.aoti_compile_and_package(program, package_path=content)
        except RuntimeError as error:
            raise ValueError(f"AOTInductor failed: {error}") from error
        file.write_bytes(content.getbuffer())
    elif export_format == "openvino":
        import openvino

        with tempfile.TemporaryDirectory() as folder:
            onnx_file = Path(folder) / "model.onnx"
            graphs.write_onnx(program, onnx_file, OUTPUT_NAMES, axes)
            network = openvino.Core().read_model(onnx_file)
            openvino.save_model(network, file, compress_to_fp16=weights == "float16")
    else:
        graphs.write_onnx(program, file, OUTPUT_NAMES, axes)
        if weights == "float16":
            store_weights_in_half(file)


def store_weights_in_half(file: Path, min_values: int = 1024) -> None:
    """Round the large weights of an ONNX file to float16; casts bring them back when the file is loaded.

    onnxruntime folds the casts at that time, so computing costs what it cost before.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(file)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < min_values:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, file)


def make_runner(export_format: str, file: Path) -> Runner:
    """The exported file as a function from the inputs by name to class and mask logits."""
    import torch

    if export_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

        def run_onnx(inputs: Inputs) -> "tuple[Tensor, Tensor]":
            arrays = {name: value.numpy() for name, value in inputs.items()}
            class_logits, mask_logits = session.run(list(OUTPUT_NAMES), arrays)
            return torch.from_numpy(class_logits), torch.from_numpy(mask_logits)

        return run_onnx
    if export_format == "openvino":
        import openvino

        # float32, for on processors with bfloat16 units that is the default.
        network = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run_openvino(inputs: Inputs) -> "tuple[Tensor, Tensor]":
            outputs = network({name: value.numpy() for name, value in inputs.items()})
            class_logits, mask_logits = (torch.from_numpy(outputs[name].copy()) for name in OUTPUT_NAMES)
            return class_logits, mask_logits

        return run_openvino
    is_program = export_format == "torch-export"
    module: Any = torch.export.load(file).module() if is_program else torch._inductor.aoti_load_package(str(file))
    return lambda inputs: module(**inputs)


def max_difference(model: "IfcForVideoInstanceSegmentation", runner: Runner, clips: list[Inputs]) -> float:
    """Largest difference of a logit between file and network, as a share of the largest logit."""
    import torch

    worst = []
    with torch.inference_mode():
        for clip in clips:
            outputs = model(**clip)
            expected = (outputs.class_queries_logits, outputs.masks_queries_logits)
            for ours, theirs in zip(runner(clip), expected, strict=True):
                worst.append(float((ours - theirs).abs().max() / theirs.abs().max()))
    return float(torch.tensor(worst).max())  # unlike Python's max, this keeps NaN


def input_shape(name: str, example: "Tensor", is_dynamic: bool) -> list[int | str]:
    """Sizes of an input, letters where they are free."""
    return [AXES[name].get(axis, size) if is_dynamic else size for axis, size in enumerate(example.shape)]


def package_versions(export_format: str) -> dict[str, str]:
    """Of the packages that an export depends on."""
    names = ("ifc_hf", "torch", "transformers", *PACKAGES.get(export_format, ()))
    return {name: importlib.metadata.version(name) for name in names}
