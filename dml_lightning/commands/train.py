"""`dml fit`, `dml validate` and `dml test`: LightningCLI with a folder for each recipe and seed."""

import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import fields
from logging import WARNING, getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from dml_lightning.callbacks.writer import result_folder
from dml_lightning.commands.find import Setting, find, trainer_settings
from dml_lightning.commands.parser import Parser
from dml_lightning.commands.summary import outcome, summary
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.loaders import is_trial
from dml_lightning.errors import PACKAGE_FOLDER
from dml_lightning.evaluation.floor import raw_pixel_accuracy
from dml_lightning.files import check_name, write_json, write_text
from dml_lightning.gallery.trained import crop_options
from dml_lightning.models import EmbeddingModule
from dml_lightning.models.weights import DESCRIPTION, weights_follow
from dml_lightning.runs import digests, launch
from dml_lightning.runs.checkpoints import AtomicCheckpointIO, ExactResume, latest_path
from dml_lightning.runs.folder import claimed, read_fit, read_status, record_stage, run_hash
from dml_lightning.runs.history import history, history_start
from dml_lightning.runs.names import find_run, name_of
from dml_lightning.runs.precision import Trainer, resolved
from dml_lightning.runs.recipes import NOT_IN_RECIPE, read_recipe, recipe_path
from dml_lightning.runs.signals import StopOnSignal
from dml_lightning.runs.sources import source_digests
from dml_lightning.runs.switches import check_callbacks, check_options, evaluate_whole_sets, one_sentence
from dml_lightning.runs.threads import choose_threads
from dml_lightning.runs.tracker import TrackingOptions, run_loggers, tolerated
from dml_lightning.shipped import with_config_files
from dml_lightning.trust import reading_recipes


class TrainingCLI(LightningCLI):
    """LightningCLI without `predict`, with run folders, recipes and trackers.

    Args:
        args: Name of the stage, then its arguments.
        run: Folder of the run to evaluate; by default it follows from recipe, data and seed.

    Raises:
        ValueError: If the arguments, the data or the run's folder cannot be used.
    """

    def __init__(self, args: list[str], run: Path | None = None) -> None:
        self._given_run = run
        with ExitStack() as self._held:  # the run's folder, until the stage has ended
            super().__init__(
                EmbeddingModule,
                ThermalWaterfowlDataModule,
                trainer_class=Trainer,
                subclass_mode_model=True,
                save_config_callback=None,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                seed_everything_default=0,
                parser_class=Parser,
                parser_kwargs={"prog": "dml", "allow_abbrev": False},
                args=args,
            )

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        stages = LightningCLI.subcommands()
        return {name: stages[name] | {"weights_only"} for name in ("fit", "validate", "test")}  # it is always true

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="run", help="Name of the folder below runs_root.")
        parser.add_argument("--runs_root", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--rerun", type=int, default=0, help="Number of a repetition of an existing run, in a folder beside it."
        )
        parser.add_argument(
            "--reuse",
            type=bool,
            default=False,
            help="Whether to keep a finished run as it is, and to resume a begun one.",
        )
        parser.add_argument(
            "--trust",
            type=str | None,
            default=None,
            help="Modules whose classes the recipe of a run's folder may name beside the listed ones, joined by "
            "commas; on the command line alone.",
        )
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="Threads of PyTorch in each process; by default OMP_NUM_THREADS, or one for a small encoder on a "
            "processor.",
        )
        parser.add_argument(
            "--find",
            type=Setting | None,
            default=None,
            help="Only with fit: looks for a learning rate or a batch size (samples_per_class, classes_per_batch being "
            "as it is), prints the key to set, and neither trains nor writes a run.",
        )
        parser.add_class_arguments(TrackingOptions, "tracking")
        parser.set_defaults({"trainer.use_distributed_sampler": False})
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments("data.turned_classes", "model.init_args.turned_classes")
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")
        parser.link_arguments("data.has_clutter", "model.init_args.clutter", apply_on="instantiate")
        # not for encoders that have no such argument
        parser.link_arguments("data.side_inputs", "model.init_args.encoder.init_args.side_inputs", compute_fn=len)

    @override
    def before_instantiate_classes(self) -> None:
        trainer = self._settings.trainer
        trainer.precision = resolved(trainer.precision, trainer.accelerator)  # before the run's hash
        check_options(self._settings, str(self.subcommand))
        if self._settings.find is not None and self.subcommand != "fit":
            raise ValueError("--find is for dml fit: leave it out.")

    @override
    def instantiate_classes(self) -> None:
        reloads = self.subcommand != "fit" and self._settings.ckpt_path != "none"
        with weights_follow(self._given_run) if reloads else nullcontext():
            super().instantiate_classes()

    # The run's folder --------------------------------------------------------------------------

    @override
    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        config = self._plain_config()
        settings = self._settings
        check_name("--name", settings.name)
        self._check_checkpoint(settings.ckpt_path)
        self._sources = source_digests(config)
        self.model.configured = (config.get("model") or {}).get("init_args") or {}
        digest = run_hash(config, self.datamodule.data_digest)
        repeat = f"-r{settings.rerun}" if settings.rerun else ""
        folder = f"{digest}-s{settings.seed_everything}{repeat}"
        self.run = (self._given_run or Path(settings.runs_root, settings.name, folder)).absolute()
        if settings.find is not None:
            folder = self._held.enter_context(TemporaryDirectory())
            return super().instantiate_trainer(**trainer_settings(Path(folder)))
        self._reused = self._reuses() and read_status(self.run) == "finished"
        if self._given_run is not None:
            self._check_data()
        if self.subcommand != "fit":
            tell_other_sources(self.run, self._sources)
            digests.check(self.run, ("fit",) if self.subcommand == "validate" else ("fit", "val"))
        self._place_checkpoints()
        trainer = self._make_trainer(**kwargs)
        if trainer.is_global_zero and not (is_trial(trainer) or self._reused):
            recipe = yaml.safe_dump(config, sort_keys=False)
            if self.subcommand == "fit":
                digests.forget(self.run, "fit")
                if self.model.encoder.description:
                    write_json(self.run / DESCRIPTION, self.model.encoder.description)
            write_text(self.run / f"recipe.{self.subcommand}.yaml", recipe)
            for each in trainer.loggers:
                each.log_hyperparams({**config, "data_digest": self.datamodule.data_digest})
                if isinstance(each, WandbLogger) and (start := history_start(self.run)):
                    with tolerated("the number of its next row"):
                        each.experiment.log({}, step=start)
        return trainer

    def _make_trainer(self, **kwargs: Any) -> L.Trainer:
        """Makes a trainer whose fit can be resumed exactly; its loggers start after the folder has been claimed."""
        settings = self._settings
        trial = settings.trainer.fast_dev_run
        given = self._get(self.config_init, "trainer")
        own_loggers = given.get("logger") in (None, True)
        if own_loggers:  # Lightning replaces that of a trial run by a dummy
            kwargs["logger"] = CSVLogger(self.run) if trial else False
        kwargs["plugins"] = [*_listed(given.get("plugins")), AtomicCheckpointIO()]
        check_callbacks(_listed(given.get("callbacks")))
        exact = [ExactResume(int(settings.seed_everything)), StopOnSignal()]
        kwargs["callbacks"] = [*_listed(given.get("callbacks")), *exact]
        launch.check_launch(settings.trainer.devices, settings.trainer.num_nodes)
        trainer = super().instantiate_trainer(default_root_dir=str(self.run), **kwargs)
        choose_threads(settings.threads, self.model.encoder, trainer.strategy.root_device)
        evaluate_whole_sets(trainer)
        if self.subcommand == "fit" and not (trial or self._reused):
            held = claimed(self.run, resume=self._resumes())
            launch.on_first_rank(trainer, lambda: self._held.enter_context(held))
        if own_loggers and not (trial or self._reused):
            stage, options = str(self.subcommand), TrackingOptions(**vars(settings.tracking))
            trainer.loggers = run_loggers(self.run, stage, settings.name, options)
        return trainer

    @property
    def _settings(self) -> Any:
        return self.config[self.subcommand]

    def _reuses(self) -> bool:
        """Whether existing work is used: by option, or because a launcher starts the same job again."""
        return self._settings.reuse or launch.is_restarted()

    def _resumes(self) -> bool:
        """Whether a fit goes on from the run's last checkpoint: by option, or because it uses begun work."""
        return self._settings.ckpt_path == "last" or (self._reuses() and latest_path(self.run).is_file())

    def _check_data(self) -> None:
        """Refuses to evaluate a run on other data than it was trained on, or on crops that are cut in another way."""
        trained = read_fit(self.run).get("data")
        if trained is not None and trained != self.datamodule.data_digest:
            raise ValueError(
                f"the data differ from what {self.run} was trained on (digest {trained[:10]}): "
                "--run takes the run's own data; leave out --data options."
            )
        own, given = crop_options(read_recipe(self.run)["data"]), self.datamodule.options
        other = [each.name for each in fields(own) if getattr(own, each.name) != getattr(given, each.name)]
        if other:
            raise ValueError(
                f"{self.run} was trained on crops with another {', '.join(other)}: leave out "
                f"{', '.join(f'--data.{name}' for name in other)}."
            )

    def _check_checkpoint(self, ckpt_path: str | None) -> None:
        """Refuses a checkpoint that is neither a file nor a name that the stage takes."""
        names = ("last",) if self.subcommand == "fit" else ("best", "none")
        if ckpt_path is not None and ckpt_path not in names and not Path(ckpt_path).is_file():
            raise ValueError(f"--ckpt_path {ckpt_path} is neither a file nor {' nor '.join(names)}.")

    def _plain_config(self) -> dict[str, Any]:
        """The settings of the stage in plain types, without options that are no part of a recipe."""
        dumped = self._parser(self.subcommand).dump(
            self.config[self.subcommand], skip_none=False, skip_link_targets=True
        )
        config: dict[str, Any] = yaml.safe_load(dumped)
        return {key: value for key, value in config.items() if key not in NOT_IN_RECIPE}

    def _place_checkpoints(self) -> None:
        """Sets the run's folder in checkpoint callbacks that have none."""
        for callback in self._get(self.config_init, "trainer").get("callbacks") or []:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run / "checkpoints")

    # The stages --------------------------------------------------------------------------------

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Records the stage in run.json, and closes the tracker's run after it."""
        digest = self.datamodule.data_digest
        active = self.trainer.is_global_zero and not is_trial(self.trainer)
        try:
            with record_stage(self.run, str(self.subcommand), digest, active, self._sources):
                yield
        finally:
            with tolerated("the end of the run"):
                import wandb  # takes a second

                wandb.finish()  # the next run of this process is not this one

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Prints how to resume if the fit is interrupted."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            if self.trainer.is_global_zero:
                print(
                    f"dml fit: interrupted at step {self.trainer.global_step}; the same command with "
                    f"--ckpt_path last goes on in {self.run}",
                    file=sys.stderr,
                )
            raise

    def fit(self, ckpt_path: str | None = None, **kwargs: Any) -> None:
        """Trains, then validates the best checkpoint once more, which writes its metrics, embeddings and gallery."""
        if self._settings.find is not None:
            print(find(self._settings.find, self.trainer, self.model, self.datamodule))
            return
        if self._reused:
            return
        if self._resumes():
            latest = latest_path(self.run)  # without one, the run was killed before its first and starts over
            ckpt_path = str(latest) if latest.is_file() else None
        with self._recorded(), self._resumable():
            self.trainer.fit(ckpt_path=ckpt_path, weights_only=True, **kwargs)
            best = self.run / "checkpoints" / "best.ckpt"
            if not (best.is_file() or is_trial(self.trainer)):
                rank_zero_warn(
                    "No best checkpoint was kept, as no epoch was validated or there is no BestCheckpoint among the "
                    "callbacks: the last state counts as the run's best."
                )
                self.trainer.save_checkpoint(best)
            if best.is_file():
                if self.trainer.is_global_zero:
                    digests.record(self.run, "fit", [DESCRIPTION])
                # a new history: that of training ends here, and a forked fit has left it in another process
                self.trainer.loggers = [
                    history(self.run, "best") if isinstance(each, CSVLogger) else each for each in self.trainer.loggers
                ]
                self.trainer.validate(ckpt_path=str(best), verbose=False, weights_only=True, **kwargs)
        if not is_trial(self.trainer):
            self._print_summary("val")
            self._print_outcome()

    def validate(self, **kwargs: Any) -> None:
        """Evaluates the run's best checkpoint, or the one given, on the validation split."""
        self._evaluate(self.trainer.validate, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Evaluates the run's best checkpoint, or the one given, on the test split."""
        self._evaluate(self.trainer.test, **kwargs)

    def _evaluate(self, stage: Any, ckpt_path: str | None = None, **kwargs: Any) -> None:
        finished = read_status(self.run, str(self.subcommand)) == "finished"
        if self._settings.reuse and finished:
            return
        best = self.run / "checkpoints" / "best.ckpt"
        if ckpt_path in (None, "best"):
            if not best.is_file():
                raise ValueError(
                    f"this recipe and seed have no {best}; fit them first, name a file with --ckpt_path, "
                    "or evaluate the encoder as initialised with --ckpt_path none."
                )
            ckpt_path = str(best)
        elif ckpt_path == "none":
            ckpt_path = None
        verbose = kwargs.pop("verbose", True)
        with self._recorded():
            stage(ckpt_path=ckpt_path, verbose=False, weights_only=True, **kwargs)
        if verbose:
            self._print_summary("val" if self.subcommand == "validate" else "test")

    def _print_summary(self, stage: str) -> None:
        """Prints the main numbers, in place of Lightning's table of all."""
        if self.trainer.is_global_zero:
            print(summary({key: float(value) for key, value in self.trainer.callback_metrics.items()}, stage))
            path = result_folder(self.trainer) / "metrics" / f"{stage}.json"
            if path.is_file():  # a trial writes none
                print(f"All numbers: {path}")

    def _print_outcome(self) -> None:
        """Prints what a fit has come to beside the floor, its folder, and the next command."""
        if self.trainer.is_global_zero:
            accuracy = self.trainer.callback_metrics.get("val/balanced_accuracy")
            if accuracy is not None:  # it is of the callback Accuracy
                print(outcome(float(accuracy), raw_pixel_accuracy(self.datamodule)))
            print(f"Run: {self.run}\nNext: dml test --run {shlex.quote(name_of(self.run))}")


def tell_other_sources(run: Path, sources: Mapping[str, str]) -> None:
    """Warns if a run was fitted from another source of a class outside of this package than that of now.

    Args:
        run: Folder of the run.
        sources: Digests of now, of `source_digests`.
    """
    fitted = read_fit(run).get("sources", {})
    other = [name for name, digest in sources.items() if fitted.get(name, digest) != digest]
    if other:
        rank_zero_warn(f"The source of {', '.join(other)} has been changed since {run} was fitted.")


def _listed(setting: Any) -> list[Any]:
    """A setting that may be None, one object or a list, as a list."""
    if setting is None:
        return []
    return setting if isinstance(setting, list) else [setting]


# The commands ------------------------------------------------------------------------------------


def train(words: list[str]) -> Path:
    """Runs `dml fit`, `dml validate` or `dml test`.

    Args:
        words: Name of the command, then its arguments.

    Returns:
        The run's folder.

    Raises:
        ValueError: If the arguments, the data or the run's folder cannot be used.
    """
    before, sys.argv = sys.argv, [sys.argv[0], *words]  # a launcher of further ranks repeats sys.argv
    try:
        with warnings.catch_warnings(), without_banners(), plain_warnings(), one_sentence():
            for message in QUIET:
                warnings.filterwarnings("ignore", message=message)
            args, run = _expand_run(words)
            args = with_config_files(args)
            with reading_recipes(args):
                return TrainingCLI(args, run).run
    finally:
        sys.argv = before


@contextmanager
def without_banners() -> Iterator[None]:
    """Hides what Lightning tells of devices, seeds and checkpoints in every stage; its warnings are shown."""
    loggers = [getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Shows this package's warnings as the other lines of a command, without the place in its source."""
    before = warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        own = Path(filename).is_relative_to(PACKAGE_FOLDER)
        return f"Warning: {message}\n" if own else before(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def _expand_run(args: list[str]) -> tuple[list[str], Path | None]:
    """`test --run RUN ...` as `test -c RUN/recipe.fit.yaml ...`, and RUN; None for RUN without that option."""
    args = [part for arg in args for part in _split_run(arg)]
    if args[0] == "fit" or "--run" not in args:
        return args, None
    position = args.index("--run")
    if position + 1 == len(args):
        raise ValueError("--run needs the folder of a run.")
    run = find_run(args[position + 1])
    recipe = recipe_path(run)
    return [args[0], "-c", str(recipe), *args[1:position], *args[position + 2 :]], run


def _split_run(arg: str) -> list[str]:
    """`--run=RUN` as two arguments; any other argument as it is."""
    return ["--run", arg.removeprefix("--run=")] if arg.startswith("--run=") else [arg]


# Warnings of libraries that do not apply here, each with the reason.
QUIET = (
    # a run's folder may be moved or copied; the checkpoint in use is named in the log
    r"The dirpath has changed from .*",
    # `train` sets sys.argv to the arguments that it was given
    r"LightningCLI's args parameter is intended to run from within Python.*",
    # crops come from a memory map in microseconds, so workers cost more than they save
    r".*does not have many workers.*",
    # a short epoch is a setting of the experiment, not a mistake
    r"The number of training batches .* is smaller than the logging interval.*",
    # the run's folder has been checked and claimed before
    r"Checkpoint directory .* exists and is not empty.*",
    # deprecated inside Lightning's own parser and PyTorch's pytree, not in this project's calls
    r".*LeafSpec.*",
)
