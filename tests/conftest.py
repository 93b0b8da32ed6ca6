"""What tests of several folders share: groups of ranks, simulated flights, finished, made-up and exported runs."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.simulate import simulate
from tests import ROOT
from tests.made_up import Made, RunOf, arrays, write_run
from tests.ranks import Gloo, Pool

TINY_ENCODER = "{channels: [8, 8, 16, 16], stem_width: 8}"

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gloo]:
    """`gloo(world)`: the pool of that many ranks, started on first use."""
    pools: dict[int, Pool] = {}

    def pool(world: int) -> Pool:
        if world not in pools:
            pools[world] = Pool(world, tmp_path_factory.mktemp(f"gloo{world}"))
        return pools[world]

    yield pool
    for started in pools.values():
        started.close()


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
        "--data.ood_train=[]",
        "--data.ood_val=[background, debris, glint]",
        "--data.far_ood=[background, glint, person, dead_pixel]",
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


@pytest.fixture(scope="session")
def made() -> Made:
    """The arrays of an npz file."""
    return arrays


@pytest.fixture
def run_of(tmp_path: Path) -> RunOf:
    """Writes a run's folder: what `dml test` leaves, without a training."""
    return partial(write_run, tmp_path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that `export/exporting.py` leaves for a case, made once by a process of its own."""
    made: dict[str, Path] = {}

    def get(case: str) -> Path:
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            program = ROOT / "tests" / "export" / "exporting.py"
            args = [sys.executable, "-W", "error", str(program), case, str(folder)]
            done = subprocess.run(args, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "printed.txt").write_text(done.stdout)
            made[case] = folder
        return made[case]

    return get
