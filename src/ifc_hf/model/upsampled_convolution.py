"""A 3x3 convolution of a map that was first doubled by nearest neighbours, computed on the small map.

Every output pixel sees nine pixels of the doubled map, but only four of the small one. So four 2x2 convolutions, one
for each parity of row and column, with sums of the 3x3 weights, give the same in 4/9 of the multiply-adds.

Letters: N maps, C channels, (h, w) the small map, (H, W) the doubled one, which may lack its last row or column.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Which rows of the 3x3 kernel fall on the first and the second of the two small rows that an output row sees.
ROWS_OF_PARITY = (((0,), (1, 2)), ((0, 1), (2,)))


class UpsampledConvolution:
    """Equals `conv2d(interpolate(maps, (H, W), mode="nearest"), weight, padding=1)` up to rounding.

    Args:
        weight: (C_out, C, 3, 3).
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        kernels = [parity_kernel(weight, row, column) for row in (0, 1) for column in (0, 1)]
        self.kernels = torch.cat(kernels).contiguous(memory_format=torch.channels_last)  # (4 * C_out, C, 2, 2)

    def __call__(self, maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Convolves.

        Args:
            maps: (N, C, h, w).
            size_hw: (H, W); H is 2 * h or 2 * h - 1, W likewise.

        Returns:
            (N, C_out, H, W), channels last in memory.
        """
        (height, width), (H, W) = maps.shape[-2:], size_hw
        found = F.conv2d(F.pad(maps, (1, 1, 1, 1)), self.kernels)  # (N, 4 * C_out, h + 1, w + 1)
        output = maps.new_empty((len(maps), len(self.weight), 2 * height, 2 * width)).contiguous(
            memory_format=torch.channels_last
        )
        for index, part in enumerate(found.chunk(4, dim=1)):
            row, column = divmod(index, 2)
            output[..., row::2, column::2] = part[..., row : row + height, column : column + width]
        output = output[..., :H, :W]
        # Where the last row or column is cut off, its neighbours see zeros in its place.
        if H % 2:
            output[..., -1:, :] = self.plain(maps[..., -2:, :], 1 if height == 1 else 3, W)[..., -1:, :]
        if W % 2:
            output[..., -1:] = self.plain(maps[..., -2:], H, 1 if width == 1 else 3)[..., -1:]
        return output

    def plain(self, maps: Tensor, height: int, width: int) -> Tensor:
        """The same by its definition, for a strip whose far end is that of the map."""
        doubled = maps.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)[..., :height, :width]
        return F.conv2d(doubled, self.weight, padding=1)


def parity_kernel(weight: Tensor, row: int, column: int) -> Tensor:
    """The 2x2 kernel (C_out, C, 2, 2) of the output pixels with this parity of row and column."""
    return torch.stack(
        [
            torch.stack(
                [
                    sum((weight[..., i, j] for i in rows for j in columns), start=torch.zeros_like(weight[..., 0, 0]))
                    for columns in ROWS_OF_PARITY[column]
                ],
                dim=-1,
            )
            for rows in ROWS_OF_PARITY[row]
        ],
        dim=-2,
    )
