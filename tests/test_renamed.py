"""Names of before still lead to the objects of today."""

import importlib
import pickle
import subprocess
import sys
from importlib.util import find_spec

import pytest

from dml_lightning.renamed import MODULES, PACKAGE, MovedModule, OldNames

# every class_path of the configs as they were when the modules moved
CLASS_PATHS = (
    "dml_lightning.callbacks.Accuracy",
    "dml_lightning.callbacks.ActiveTriplets",
    "dml_lightning.callbacks.Assumptions",
    "dml_lightning.callbacks.DistanceRatio",
    "dml_lightning.callbacks.OODDetection",
    "dml_lightning.callbacks.Retrieval",
    "dml_lightning.callbacks.RunWriter",
    "dml_lightning.callbacks.Structure",
    "dml_lightning.callbacks.Tracking",
    "dml_lightning.callbacks.TrainingState",
    "dml_lightning.checkpoints.BestCheckpoint",
    "dml_lightning.checkpoints.LatestCheckpoint",
    "dml_lightning.data.sources.CocoJson",
    "dml_lightning.data.sources.CropFolders",
    "dml_lightning.data.sources.CsvTable",
    "dml_lightning.data.sources.HuWaterfowl",
    "dml_lightning.data.sources.Yolo",
    "dml_lightning.losses.BinaryCrossEntropyLoss",
    "dml_lightning.losses.ContrastiveLoss",
    "dml_lightning.losses.CrossEntropyLoss",
    "dml_lightning.losses.FocalLoss",
    "dml_lightning.losses.MetricCrossEntropyLoss",
    "dml_lightning.losses.MultiSimilarityLoss",
    "dml_lightning.losses.NPairLoss",
    "dml_lightning.losses.PMLLoss",
    "dml_lightning.losses.TripletLoss",
    "dml_lightning.models.GlobalBatchNorm",
    "dml_lightning.models.RawPixels",
    "dml_lightning.models.SoftmaxModule",
    "dml_lightning.models.TripletModule",
    "lightning.pytorch.strategies.ModelParallelStrategy",
    "pytorch_metric_learning.losses.ArcFaceLoss",
    "pytorch_metric_learning.losses.MultiSimilarityLoss",
    "pytorch_metric_learning.losses.NormalizedSoftmaxLoss",
    "pytorch_metric_learning.losses.ProxyAnchorLoss",
    "pytorch_metric_learning.miners.MultiSimilarityMiner",
    "torch.optim.AdamW",
)
TAKEN = (
    ("checkpoints", "BestCheckpoint", "runs.checkpoints"),
    ("inference", "TrainedRun", "gallery.trained"),
    ("openset.gallery", "Gallery", "gallery.gallery"),
    ("data.simulate", "simulate", "simulate"),
    ("data.simulate.write", "simulate", "simulate.write"),
    ("losses.distances", "PairGradient", "losses.gradient"),
    ("losses.distances", "product_distances", "pairs.distances"),  # of its second or third new place
)


@pytest.mark.parametrize("place", sorted({place for places in MODULES.values() for place in places}))
def test_every_new_place_is_a_module(place: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.{place}")
    assert not isinstance(module, MovedModule)


@pytest.mark.parametrize("old", MODULES)
def test_every_old_module_is_found_and_stands_for_its_names(old: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.{old}")
    assert isinstance(module, MovedModule)
    assert MODULES[old]
    first = importlib.import_module(f"{PACKAGE}.{MODULES[old][0]}")
    name = next(name for name, value in vars(first).items() if getattr(value, "__module__", "").startswith(PACKAGE))
    with pytest.warns(DeprecationWarning, match=rf"{old}\.{name} is {first.__name__}\.{name} now"):
        assert getattr(module, name) is getattr(first, name)


@pytest.mark.parametrize(("old", "name", "new"), TAKEN)
def test_what_is_taken_is_the_new_object(old: str, name: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{PACKAGE}.{new}.{name} now; the old name goes with the next release"):
        taken = getattr(importlib.import_module(f"{PACKAGE}.{old}"), name)
    assert taken is getattr(importlib.import_module(f"{PACKAGE}.{new}"), name)


@pytest.mark.parametrize("name", ["NoSuchName", "__wrapped__", "__path__"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.checkpoints")
    assert not hasattr(module, name)
    with pytest.raises(AttributeError, match=f"module 'dml_lightning.checkpoints' has no attribute '{name}'"):
        getattr(module, name)


def test_modules_below_an_old_package_are_found_whatever_came_first() -> None:
    code = (
        "import dml_lightning.data.simulate, dml_lightning.data.simulate.write as old; print(old.simulate.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "dml_lightning.simulate.write"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dml_lightning.data.simulate.never_was")


def test_other_modules_are_not_found() -> None:
    names = OldNames()
    assert names.find_spec("dml_lightning.losses") is None
    assert names.find_spec("torch") is None
    assert find_spec("dml_lightning.never_was") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dml_lightning.never_was")


@pytest.mark.filterwarnings("ignore:.* the old name goes with the next release:DeprecationWarning")
@pytest.mark.parametrize("path", CLASS_PATHS)
def test_every_class_of_earlier_configs_loads(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.filterwarnings("ignore:.* the old name goes with the next release:DeprecationWarning")
def test_a_pickle_of_before_loads() -> None:
    from dml_lightning.gallery.radius import RadiusPrior

    old = f"c{PACKAGE}.openset.radius\nRadiusPrior\n.".encode()
    assert pickle.loads(old) is RadiusPrior


def test_the_finder_stands_once_in_front() -> None:
    finders = [finder for finder in sys.meta_path if isinstance(finder, OldNames)]
    assert len(finders) == 1


def test_other_names_of_metrics_functional_load_for_one_more_release() -> None:
    from dml_lightning.metrics import functional
    from dml_lightning.metrics.retrieval import retrieval_summary

    with pytest.warns(DeprecationWarning, match=r"is dml_lightning.metrics.retrieval.retrieval_summary now"):
        assert functional.retrieval_summary is retrieval_summary
    with pytest.raises(AttributeError, match=r"functional' has no attribute 'never_was'"):
        _ = functional.never_was
    assert set(functional.__all__) == {
        *("distance_summary", "DistanceSummary", "recall_at_k", "map_at_r", "auroc", "fpr_at_tpr")
    }
