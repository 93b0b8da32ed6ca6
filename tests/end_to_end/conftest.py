"""A few small simulated flights and one finished run of each arm, made once for all tests."""

from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.simulate import simulate

ROOT = Path(__file__).resolve().parents[2]
TINY_ENCODER = "{channels: [8, 8, 16, 16], stem_width: 8}"


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six flights of four small frames."""
    out = tmp_path_factory.mktemp("flights") / "simulated"
    return simulate(out, flights=6, frames=4, width=480, height=384, workers=1, progress=False)


@pytest.fixture(scope="session")
def words(flights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `dml fit` needs for a small and short run, but for the arm."""
    work = tmp_path_factory.mktemp("work")
    return [
        f"--config={ROOT}/configs/base.yaml",
        f"--config={ROOT}/configs/data/simulated.yaml",
        f"--data.source.init_args.root={flights}",
        f"--data.cache_dir={work}/cache",
        "--data.batches_per_epoch=4",
        "--data.known=[canada_goose, gadwall, mallard, snow_goose]",
        "--data.classes_per_batch=4",
        "--data.samples_per_class=8",
        "--data.unseen_groups=all",
        f"--model.init_args.encoder.backbone_args={TINY_ENCODER}",
        "--model.init_args.encoder.embedding_dim=8",
        f"--runs_root={work}/runs",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
    ]


@pytest.fixture(scope="session")
def runs(words: list[str]) -> dict[str, Path]:
    """A finished run of each arm."""
    return {
        arm: main(["fit", *words, f"--config={ROOT}/configs/model/{arm}.yaml", f"--name={arm}"])
        for arm in ("softmax", "triplet")
    }
