#!/usr/bin/env bash
# Guess, before anything was run: a process that is killed while Lightning's CSVLogger saves loses at most the rows that
# it had not saved yet, because the logger appends to metrics.csv.
# Seen (lightning 2.6.6): it appends only while no new number comes. When a number is logged for the first time (the first
# validation, say), save() opens the file for writing, which empties it, and writes all rows anew. Of a process killed
# there 20,000 saved rows were left as a part of them, or none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lightning==2.6.6" "torch==2.11.0" "numpy==2.4.6"
cd "$folder"
cat > fit.py <<'PYTHON'
from lightning.pytorch.loggers import CSVLogger

logger = CSVLogger("logs", name="run", version="0", flush_logs_every_n_steps=10**9)
for step in range(20_000):
    logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
logger.save()
print("saved", flush=True)
logger.log_metrics({"val/accuracy": 0.5}, 20_000)
logger.save()
PYTHON
cat > kill.py <<'PYTHON'
import os
import signal
import subprocess
import sys
from importlib.metadata import version

process = subprocess.Popen([sys.executable, "-W", "ignore", "fit.py"], stdout=subprocess.PIPE, text=True)
assert process.stdout.readline() == "saved\n"
path = "logs/run/0/metrics.csv"
whole = os.path.getsize(path)
while os.path.getsize(path) >= whole and process.poll() is None:
    pass
process.send_signal(signal.SIGKILL)
status = process.wait()
with open(path) as file:
    rows = max(0, len(file.readlines()) - 1)
print("lightning", version("lightning"), "rows saved: 20000, rows left after the kill:", rows, "status", status)
assert status == -signal.SIGKILL, "the rewriting ended before it was seen"
assert rows < 20_000, "rows are kept now"
PYTHON
venv/bin/python -W ignore kill.py
