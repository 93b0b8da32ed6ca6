# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The first hour: from frames to a decision
#
# Simulated flights stand in for yours: wherever `FLIGHTS` is given, give a folder of any layout that `dml check` reads.
# The settings are small so that all of it takes about a minute on two cores; the numbers are those of such a short
# training. `pip install "dml-lightning[notebook]"`, and open this file as a notebook with Jupyter (jupytext), or run it
# with `python`.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning import TrainedRun, TripletModule
from dml_lightning.cli import main
from dml_lightning.figures import draw_comparison, draw_frame
from dml_lightning.simulate import simulate

WORK = Path("first_hour")
FLIGHTS, NIGHT = WORK / "flights", WORK / "night"
for folder, flights, seed in ((FLIGHTS, 12, 0), (NIGHT, 4, 1)):
    if not folder.exists():
        simulate(folder, flights=flights, frames=4, seed=seed, width=480, height=384, workers=1, progress=False)

# %% [markdown]
# ## Fit
#
# `main` is the command line: what is written here as a list is `dml fit -c base ...` in a shell. It returns the folder
# of the run. `--reuse=true` takes a run that is there already.

# %%
run = main(
    [
        *("fit", "-c", "base", "-c", "data/simulated", "-c", "model/triplet", "--name=first", "--reuse=true"),
        f"--data.source.init_args.root={FLIGHTS}",
        f"--data.cache_dir={WORK}/cache",
        f"--runs_root={WORK}/runs",
        "--trainer.max_epochs=4",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--data.batches_per_epoch=20",
        "--tracking.wandb=disabled",
    ]
)

# %% [markdown]
# ## Evaluate
#
# On flights that the fit has not seen: how well known species are told apart, how well novel ones are found again, and
# how well what is no bird is told from birds (OOD).

# %%
_ = main(["test", f"--run={run}"])

# %%
draw_comparison({"triplet": run})

# %% [markdown]
# ## The gallery
#
# What names a box: a prototype for each species, and the rules that refuse, each with the sentence of how its threshold
# was chosen.

# %%
_ = main(["gallery", "list", f"--run={run}"])

# %% [markdown]
# ## Predict
#
# A row for each box of a new night. `species` is empty where the box is refused; `label` is the guess for every box.

# %%
trained = TrainedRun.load(run)
boxes = trained.predict(NIGHT / "annotations.json")
boxes[["frame", "species", "label", "decision", "p_value", "annotation"]].head()

# %%
frame = boxes["frame"].iloc[0]
draw_frame(NIGHT / frame, boxes[boxes["frame"] == frame])

# %% [markdown]
# ## Enrol a new species
#
# Tundra swans were never trained on. Five crops of them, without any training, are enough to be in the gallery. A run
# that is loaded already keeps its gallery, so it is loaded again.

# %%
NEW = "tundra_swan"
swans = boxes.index[boxes["annotation"] == NEW]
crops = boxes.loc[swans[:5], ["frame", "x", "y", "width", "height"]]
crops.assign(frame=[(NIGHT / name).resolve() for name in crops["frame"]]).to_csv(WORK / "swans.csv", index=False)
main(["enroll", f"--run={run}", f"--crops={WORK}/swans.csv", f"--label={NEW}"])
trained = TrainedRun.load(run)
after = trained.predict(NIGHT / "annotations.json")
pd.DataFrame(
    {when: table.loc[swans[5:], "species"].value_counts() for when, table in (("before", boxes), ("after", after))}
)

# %% [markdown]
# ## Refuse
#
# What each rule refuses, of species that the gallery knows and of all else. Rule C, the default where there is a
# calibration split, bounds the first number: at most 5 % of known birds, on average over calibrations, for boxes that
# are exchangeable with the calibration crops. Nothing bounds the second from below, and after so short a training the
# two hardly differ; the page of results has the numbers of whole trainings.

# %%
known = np.where(after["annotation"].isin(trained.gallery.class_names), "known species", "all else")
refused = pd.DataFrame(
    {rule: after[f"ood_score_{rule}"] > after[f"threshold_{rule}"] for rule in trained.gallery.thresholds}
)
refused.groupby(known).mean()

# %% [markdown]
# ## Decide about boxes of your own
#
# Boxes may come from anywhere, such as a detector: a table with frame, x, y, width and height. The answer has the index
# and the further columns of the table.

# %%
mine = pd.DataFrame(
    {"frame": [NIGHT / frame], "x": [100], "y": [80], "width": [20], "height": [16], "camera": ["left"]}
)
decided = trained.predict(mine, rule="A")
decided[["species", "decision", "camera"]]

# %% [markdown]
# The module is an ordinary LightningModule, to be trained further or used elsewhere.

# %%
module = TripletModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
type(module.encoder).__name__, module.num_classes
