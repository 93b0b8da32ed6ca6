#!/usr/bin/env bash
# Guess, before anything was run: `import timm` brings no experiment tracker, since models need none; at most its training
# script does.
# Seen (timm 1.0.31): where wandb is installed, `import timm` imports it, and with it more than a hundred modules, before any
# model is asked for: its readers of images import its helpers for training, which try wandb. A module of its own such as
# timm.layers does so too, as the package comes first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "timm==1.0.31" "torch==2.15.0" "wandb==0.31.0"
cd "$folder"
for module in timm.layers timm; do
  venv/bin/python -W ignore -c "
import importlib, sys
import torch, torchvision
importlib.import_module('$module')
brought = [name for name in sys.modules if name.split('.')[0] == 'wandb']
print('$module', 'wandb' in sys.modules, len(brought) > 100)
"
done | tee out.txt
diff out.txt <(printf 'timm.layers True True\ntimm True True\n')
