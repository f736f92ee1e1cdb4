"""A 3x3 convolution of a map that was first doubled by nearest neighbours, computed on the small map.

Along one axis, with the kernel (a, b, c), the two output pixels over the small pixel x[i] are

    a x[i-1] + (b + c) x[i]  =  (a + b + c) x[i] - a (x[i] - x[i-1])
    (a + b) x[i] + c x[i+1]  =  (a + b + c) x[i] + c (x[i+1] - x[i])

so three products make two pixels, and along both axes nine make four: a quarter of the doubled map's multiply-adds.

Letters: N maps, C channels, O channels of the output, (h, w) the small map, (H, W) the doubled one, which may lack its
last row or column.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class UpsampledConvolution:
    """Equals `conv2d(interpolate(maps, (H, W), mode="nearest"), weight, padding=1)` up to rounding.

    Args:
        weight: (O, C, 3, 3).
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        rows = weight[..., 0, :], weight[..., 2, :], weight.sum(-2)  # (O, C, 3) each
        (top_left, top_right, top), (bottom_left, bottom_right, bottom), (left, right, whole) = (
            (row[..., 0], row[..., 2], row.sum(-1)) for row in rows
        )
        self.of_pixels = whole.T.contiguous()  # (C, O); those below hold several kernels side by side
        self.of_row_steps = torch.cat([top, bottom]).T.contiguous()
        self.of_column_steps = torch.cat([left, right]).T.contiguous()
        self.of_both_steps = torch.cat([top_left, top_right, bottom_left, bottom_right]).T.contiguous()

    def __call__(self, maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Convolves.

        Args:
            maps: (N, C, h, w).
            size_hw: (H, W); H is 2 * h or 2 * h - 1, W likewise.

        Returns:
            (N, O, H, W), channels last in memory.
        """
        num_maps, _, height, width = maps.shape
        H, W = size_hw
        padded = F.pad(maps, (1, 1, 1, 1)).permute(0, 2, 3, 1)  # (N, h + 2, w + 2, C)
        row_steps = padded[:, 1:] - padded[:, :-1]
        column_steps = padded[:, 1:-1, 1:] - padded[:, 1:-1, :-1]
        both_steps = row_steps[:, :, 1:] - row_steps[:, :, :-1]
        whole = padded[:, 1:-1, 1:-1] @ self.of_pixels
        top, bottom = (row_steps[:, :, 1:-1] @ self.of_row_steps).chunk(2, -1)
        left, right = (column_steps @ self.of_column_steps).chunk(2, -1)
        top_left, top_right, bottom_left, bottom_right = (both_steps @ self.of_both_steps).chunk(4, -1)
        left, right = left[:, :, :-1], right[:, :, 1:]
        upper, lower = whole - top[:, :-1], whole + bottom[:, 1:]
        output = maps.new_empty((num_maps, height, 2, width, 2, len(self.weight)))
        torch.sub(upper, left, out=output[:, :, 0, :, 0]).add_(top_left[:, :-1, :-1])
        torch.add(upper, right, out=output[:, :, 0, :, 1]).sub_(top_right[:, :-1, 1:])
        torch.sub(lower, left, out=output[:, :, 1, :, 0]).sub_(bottom_left[:, 1:, :-1])
        torch.add(lower, right, out=output[:, :, 1, :, 1]).add_(bottom_right[:, 1:, 1:])
        output = output.flatten(3, 4).flatten(1, 2)[:, :H, :W].permute(0, 3, 1, 2)
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
