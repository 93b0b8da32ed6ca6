#!/usr/bin/env bash
# Guess, before anything was run: an optimizer's moments that a checkpoint brings with other strides than their weights (a
# fit in channels_last that goes on from one that was not) are paired with their weights by index, whatever the strides,
# or refused.
# Seen (torch 2.15.0, processor): AdamW(fused=True) takes them and pairs moments and weights by their places in memory:
# another step than that of fused=False, of the same values, and no word. load_state_dict keeps the strides of the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.15.0" numpy
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from copy import deepcopy

import torch
from torch import nn


def stepped(convolution, saved, fused):
    """Weights after one more step with the moments of a checkpoint."""
    optimizer = torch.optim.AdamW(convolution.parameters(), lr=0.1, fused=fused)
    optimizer.load_state_dict({"state": deepcopy(saved["state"]), "param_groups": optimizer.state_dict()["param_groups"]})
    convolution(torch.ones(1, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    return convolution.weight.detach().contiguous()


torch.manual_seed(0)
first = nn.Conv2d(3, 4, 3, bias=False)
optimizer = torch.optim.AdamW(first.parameters(), lr=0.1)
first(torch.randn(8, 3, 5, 5)).square().sum().backward()
optimizer.step()
saved = optimizer.state_dict()
first.zero_grad()

steps = {}
for layout in (torch.contiguous_format, torch.channels_last):
    for fused in (False, True):
        steps[layout, fused] = stepped(deepcopy(first).to(memory_format=layout), saved, fused)
exact = steps[torch.contiguous_format, False]
print("torch", torch.__version__)
for (layout, fused), weights in steps.items():
    print(f"{str(layout):24} fused={fused!s:5} largest difference {float((weights - exact).abs().max()):.4f}")
wrong = steps.pop((torch.channels_last, True))
assert all(torch.allclose(weights, exact, atol=1e-5) for weights in steps.values())
assert (wrong - exact).abs().max() > 0.01
PYTHON
