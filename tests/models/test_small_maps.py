"""Convolutions of maps of a few px are those of PyTorch."""

import pytest
import torch

from dml_lightning.models.small_maps import SmallMapConv2d, leave_out_padding


@pytest.mark.parametrize(
    ("height", "width", "stride"), [(1, 1, 1), (1, 1, 2), (2, 2, 2), (1, 2, 2), (2, 2, 1), (3, 3, 2), (3, 3, 3)]
)
def test_a_convolution_of_small_maps_is_pytorch_s(height: int, width: int, stride: int) -> None:
    torch.manual_seed(0)
    settings = {"kernel_size": 3, "padding": 1, "stride": stride, "dtype": torch.float64}
    own, plain = SmallMapConv2d(4, 5, **settings), torch.nn.Conv2d(4, 5, **settings)  # type: ignore[arg-type]
    plain.load_state_dict(own.state_dict())
    images = torch.randn(3, 4, height, width, dtype=torch.float64)
    results = []
    for layer in (own, plain):
        given = images.clone().to(memory_format=torch.channels_last).requires_grad_()
        maps = layer(given)
        maps.pow(3).sum().backward()
        results.append((maps, given.grad, layer.weight.grad, layer.bias.grad))
    torch.testing.assert_close(results[0], results[1])


def test_a_convolution_with_other_padding_stays_itself() -> None:
    plain, reflecting = (torch.nn.Conv2d(1, 1, 3, 2, 1, padding_mode=mode) for mode in ("zeros", "reflect"))
    leave_out_padding(torch.nn.Sequential(plain, reflecting))
    assert [type(each) for each in (plain, reflecting)] == [SmallMapConv2d, torch.nn.Conv2d]
