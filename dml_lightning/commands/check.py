"""`dml check`: reads a data set without training, says what would be used, and names what to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dml_lightning.data.frames import Radiometry
from dml_lightning.files import check_output
from dml_lightning.yaml_files import read_yaml

if TYPE_CHECKING:
    from dml_lightning.data.doubts import Doubt

DOUBT_STATUS = 3  # of the process, when there is something to look at


def check(data: str, picture: str = "check.png", radiometry: Radiometry | None = None) -> "list[Doubt]":
    """Reads frames and boxes without training, says what would be used, and every doubt; status 3 if there is one.

    Frames that cannot be read are skipped and named. Headers are read of every frame, pixels of at most 200, evenly
    spaced. A status of 0 means that there is no doubt, 2 that nothing could be read.

    Args:
        data: Data config, annotation file or folder of a data set; its layout is recognised by its content.
        picture: PNG to write, with twelve crops and their boxes, evenly over the classes.
        radiometry: Turns integer counts into degC (gain, offset); by default that of a data config, if it has one.

    Returns:
        The doubts, of which there are none.

    Raises:
        ValueError: If the data or the pixels of every frame cannot be read.
        SystemExit: With status 3, if there is a doubt.
    """
    target = Path(picture)
    if target.is_dir() or target.suffix != ".png":
        raise ValueError(f"--picture {picture}: name the .png file to write.")
    from dml_lightning.data.doubts import doubts_of, unreadable_doubts
    from dml_lightning.data.looks import evenly, look_at_all
    from dml_lightning.data.overview import contents, pixels
    from dml_lightning.data.pixels import frame_header
    from dml_lightning.data.sources.recognise import read_source
    from dml_lightning.figures.crops import write_crops

    reading = read_source(Path(data), "skip")
    frames = reading.frames["frame"].tolist()
    check_output("--picture", target, [data, *frames])
    headers = {frame: frame_header(frame) for frame in frames}
    sample = evenly(frames)
    looks, bad = look_at_all(sample, radiometry or _configured(Path(data)))
    if not looks:
        raise ValueError(f"no frame of {len(sample)} can be read, the first being {bad[0]}")
    print("\n".join([str(reading.report).splitlines()[0], *contents(reading, headers), *pixels(looks, len(frames))]))
    doubts = [*doubts_of(reading, headers, looks), *unreadable_doubts(bad, len(sample))]
    for number, doubt in enumerate(doubts, start=1):
        print(f"Doubt {number}, {doubt.about}: {doubt.sentence}")
    if not doubts:
        print("No doubt.")
    print(f"{write_crops(target, reading.table)} crops with their boxes in {target}; look at them.")
    if doubts:
        raise SystemExit(DOUBT_STATUS)
    return doubts


def _configured(path: Path) -> Radiometry | None:
    """The radiometry that a data config states."""
    content: Any = read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else None
    section = (content.get("data") or content) if isinstance(content, dict) else {}
    stated = section.get("radiometry") if isinstance(section, dict) else None
    if not isinstance(stated, dict):
        return None
    stated = stated.get("init_args", stated)
    try:
        return Radiometry(float(stated["gain"]), float(stated["offset"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: radiometry is {stated!r} and needs a gain and an offset, numbers.") from error
