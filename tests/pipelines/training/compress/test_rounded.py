"""Learning with rounded weights: the arithmetic of what is stored, the gradient of what is behind it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from pipelines.training.compress.rounded import rounded
from pipelines.training.compress.weights import stored


def test_the_model_computes_with_what_is_stored_and_learns_behind_it() -> None:
    layer, x = nn.Linear(6, 4), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    before, names = layer.weight.detach().clone(), list(layer.state_dict())
    near = stored(before, "int4").wide()
    assert not torch.allclose(near, before, atol=1e-3)
    with rounded(layer, {"weight": "int4", "bias": "fp16"}):
        torch.testing.assert_close(layer(x), F.linear(x, near, layer.bias.detach().half().float()))
        layer(x).square().sum().backward()
        [slope] = [p.grad for name, p in layer.named_parameters() if "weight" in name]
        optimiser = torch.optim.SGD(layer.parameters(), lr=1e-4)
        optimiser.step()
    expected = near.clone().requires_grad_()
    F.linear(x, expected, layer.bias.detach().half().float()).square().sum().backward()
    assert slope is not None and expected.grad is not None
    torch.testing.assert_close(slope, expected.grad, rtol=1e-2, atol=1e-2)
    assert list(layer.state_dict()) == names and isinstance(layer.weight, nn.Parameter)
    torch.testing.assert_close(layer.weight.detach(), before - 1e-4 * slope)


def test_an_exception_leaves_plain_weights() -> None:
    layer = nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    try:
        with rounded(layer, {"weight": "int8", "bias": "fp16"}):
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(layer.weight, before)


def test_what_has_learned_with_rounding_loses_less_by_it() -> None:
    """Sixteen inputs that are nearly one: rounding each weight alone moves their sum, learning with it does not."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(256, 1, generator=draws) + 0.1 * torch.randn(256, 16, generator=draws)
    layer = nn.Linear(16, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, 16, generator=draws))
        goal = layer(x)

    def narrow() -> float:
        return float((F.linear(x, stored(layer.weight.detach(), "int4").wide()) - goal).square().mean())

    before = narrow()
    with rounded(layer, {"weight": "int4"}):
        optimiser = torch.optim.Adam(layer.parameters(), lr=3e-3)
        for _ in range(300):
            optimiser.zero_grad()
            (layer(x) - goal).square().mean().backward()
            optimiser.step()
    assert narrow() < 0.5 * before
