"""The keys behind the options that other programs have: `--lr` is `model.init_args.optimizer.init_args.lr` here."""

from collections.abc import Collection
from difflib import get_close_matches

# Usual name, with "_" for "-" -> what is written here.
KEYS = {
    **dict.fromkeys(("lr", "learning_rate"), ("model.init_args.optimizer.init_args.lr",)),
    **dict.fromkeys(("wd", "weight_decay"), ("model.init_args.optimizer.init_args.weight_decay",)),
    **dict.fromkeys(
        ("batch_size", "train_batch_size"),
        ("data.classes_per_batch", "data.samples_per_class", "data.eval_batch_size"),
    ),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), ("trainer.max_epochs",)),
    **dict.fromkeys(("steps", "num_steps"), ("trainer.max_steps",)),
    **dict.fromkeys(("gpus", "num_gpus", "ngpus"), ("trainer.devices",)),
    "device": ("trainer.accelerator",),
    "seed": ("seed_everything",),
    **dict.fromkeys(("amp", "fp16", "bf16"), ("trainer.precision",)),
    **dict.fromkeys(("workers", "num_workers"), ("data.num_workers",)),
    **dict.fromkeys(("root", "data_dir", "data_root", "dataset"), ("data.source.init_args.root",)),
    **dict.fromkeys(("out", "output", "output_dir", "save_dir"), ("runs_root", "name")),
    **dict.fromkeys(("backbone", "arch"), ("model.init_args.encoder.backbone",)),
    **dict.fromkeys(("dim", "embedding_dim", "embedding_size"), ("model.init_args.encoder.embedding_dim",)),
    "pretrained": ("model.init_args.encoder.pretrained",),
    "loss": ("model.init_args.loss.class_path",),
    "margin": ("model.init_args.loss.init_args.margin",),
    "optimizer": ("model.init_args.optimizer.class_path",),
    **dict.fromkeys(("schedule", "scheduler", "lr_scheduler"), ("model.init_args.schedule",)),
    "wandb": ("tracking.wandb",),
    **dict.fromkeys(("image_size", "img_size", "input_size"), ("data.crop_size",)),
    **dict.fromkeys(("resume", "checkpoint", "ckpt"), ("ckpt_path",)),
}


def keys_for(option: str, known: Collection[str] = ()) -> list[str]:
    """Keys that an option which there is not may stand for; none where nothing resembles it.

    Args:
        option: The option, with or without dashes and value.
        known: Keys of the parser.

    Example:
        >>> keys_for("--lr=0.01"), keys_for("--max-epochs", ["trainer.max_epochs", "trainer.max_steps"])
        (['model.init_args.optimizer.init_args.lr'], ['trainer.max_epochs'])
    """
    name = option.lstrip("-").partition("=")[0].replace("-", "_")
    last = name.rpartition(".")[2]
    ends = {key.rpartition(".")[2]: key for key in known}
    near = [ends[each] for each in get_close_matches(last, ends, n=1, cutoff=0.85)]
    return list(KEYS.get(last, ())) or [key for key in known if key.endswith(f".{last}")] or near


def unrecognized(message: str, known: Collection[str]) -> str:
    """What a parser says of options that there are not, with the keys that they may stand for.

    Args:
        message: Text of the parser; one that is about something else comes back as it is.
        known: Keys of the parser.

    Example:
        >>> unrecognized("unrecognized arguments: --lr 0.01", [])
        'unrecognized arguments: --lr 0.01; for --lr write --model.init_args.optimizer.init_args.lr.'
    """
    head, _, rest = message.partition("unrecognized arguments: ")
    if head or not rest:
        return message
    options = [word.partition("=")[0] for word in rest.split() if word.startswith("--")]
    answers = {option: keys for option in options if (keys := keys_for(option, known))}
    told = [f"for {option} write {' and '.join(f'--{key}' for key in keys)}" for option, keys in answers.items()]
    return "; ".join([message, *told]) + "." * bool(told)
