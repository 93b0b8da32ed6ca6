"""Writing simulated flights: 16-bit TIFF frames, COCO annotations and all parameters, as a whole or not at all."""

import json
import os
import platform
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dml_lightning.files import check_output, replacing_folder
from dml_lightning.processes import available_cores, serve
from dml_lightning.simulate.flight import SCALE, Flight, draw_flight, folder_of, frame_file
from dml_lightning.simulate.species import CATEGORIES, TAXONOMY, TAXONOMY_LEVELS

if TYPE_CHECKING:
    from dml_lightning.simulate.render import Annotation

FlightJob = tuple[Flight, int]


def simulate(
    out: str | Path,
    *,
    flights: int = 12,
    frames: int = 20,
    seed: int = 0,
    altitude: float = 60.0,
    lens_mm: float = 13.5,
    width: int = 640,
    height: int = 512,
    birds: int = 20,
    lookalikes: int = 4,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write simulated thermal flights over waterfowl, in the file layout of a real survey.

    `out` receives `flight_00/frame_0000.tiff` and so on (16-bit counts of 10 mK; the scale to degC is also in each
    file's ImageDescription), `annotations.json` (COCO; the supercategory is known species, novel species or
    lookalike; `gsd` of an image is its metres per px), `taxonomy.csv` (genus, group and family of each species) and
    `simulation.json` (all parameters, and the conditions of every flight). The same arguments write the same bytes,
    whatever the number of workers; a flight does not depend on the number of flights.

    Args:
        out: Folder to write; it must be absent or empty, and is filled only when everything is done.
        flights: Number of flights; birds colder and warmer than the water alternate, and habitats take turns.
        frames: Number of frames per flight.
        seed: Seed of everything random.
        altitude: Height above ground, m; a flight varies by up to 7 % around it.
        lens_mm: Focal length, mm, for pixels of 12 um.
        width: Frame width, px.
        height: Frame height, px.
        birds: Mean number of birds per frame; it varies by up to a quarter.
        lookalikes: Number of lookalikes per frame, beside the detector's dead pixels; 0 leaves these out too.
        workers: Number of processes; by default one per available core.
        progress: Whether to show a progress bar.

    Returns:
        `out` as an absolute path.

    Raises:
        ValueError: If an argument is out of range, or the folder is not empty.
    """
    out = Path(out).absolute()
    settings = {
        "flights": flights,
        "frames": frames,
        "seed": seed,
        "altitude": altitude,
        "lens_mm": lens_mm,
        "width": width,
        "height": height,
        "birds": birds,
        "lookalikes": lookalikes,
    }
    workers = available_cores() if workers is None else workers
    _check(out, settings, workers)
    plan = [draw_flight(n, seed, altitude, lens_mm, width, height) for n in range(flights)]
    from dml_lightning.simulate.render import write_frame  # and SciPy with it, for which a wrong option does not wait

    with replacing_folder(out) as folder:
        for flight in plan:
            (folder / folder_of(flight)).mkdir()
        jobs = [(flight, frame) for flight in plan for frame in range(frames)]
        write = partial(write_frame, folder=folder, birds=birds, lookalikes=lookalikes)
        notes = list(_show(_run(write, jobs, workers), len(jobs), progress))
        _write_json(folder / "annotations.json", _coco(jobs, notes, width, height))
        conditions = [asdict(flight) for flight in plan]
        rows = [",".join(row) for row in (TAXONOMY_LEVELS, *TAXONOMY)]
        (folder / "taxonomy.csv").write_bytes(("\n".join(rows) + "\n").encode())
        _write_json(folder / "simulation.json", {**settings, "scale": SCALE, "conditions": conditions})
    return out


def _check(out: Path, settings: dict[str, Any], workers: int) -> None:
    """Check the arguments of `simulate`, and that the folder is free."""
    low = {"flights": 1, "frames": 1, "seed": 0, "width": 64, "height": 64, "birds": 0}
    for name, least in {**low, "lookalikes": 0}.items():
        if settings[name] < least:
            raise ValueError(f"{name} is {settings[name]}; it must be at least {least}.")
    for name in ("altitude", "lens_mm"):
        if not 0 < settings[name] < float("inf"):
            raise ValueError(f"{name} is {settings[name]}; it must be a positive number.")
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1.")
    check_output("--out", out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out} already holds something; name a new or an empty folder.")


def _run(write: Any, jobs: list[FlightJob], workers: int) -> "Iterator[list[Annotation]]":
    """Yield the results in the order of the jobs.

    On Linux workers are forked, all of them before the progress bar starts. They use NumPy and SciPy without threads,
    so threads of the parent, of which Python warns from 3.12 on, do no harm; and to import this package afresh in each
    would take longer than a small data set.
    """
    if workers == 1:
        yield from map(write, jobs)
        return
    method = "fork" if platform.system() == "Linux" else "spawn"
    context = get_context(method)
    with ProcessPoolExecutor(workers, context, initializer=serve, initargs=(os.getpid(),)) as pool:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            notes = pool.map(write, jobs, chunksize=4)
        yield from notes


def _show(notes: "Iterable[list[Annotation]]", total: int, progress: bool) -> "Iterable[list[Annotation]]":
    from rich.progress import track

    return track(notes, "Simulating frames", total, disable=not progress)


def _coco(jobs: list[FlightJob], notes: "list[list[Annotation]]", width: int, height: int) -> dict[str, Any]:
    """Annotations in COCO's layout; ids count from 1."""
    ids = {name: number for number, (name, _) in enumerate(CATEGORIES, 1)}
    rows = [(image, note) for image, annotations in enumerate(notes, 1) for note in annotations]
    return {
        "info": {"description": f"Simulated thermal waterfowl flights; {SCALE}"},
        "images": [
            {"id": number, "file_name": frame_file(job), "width": width, "height": height, "gsd": job[0].gsd}
            for number, job in enumerate(jobs, 1)
        ],
        "categories": [{"id": ids[name], "name": name, "supercategory": group} for name, group in CATEGORIES],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": ids[note.name],
                "bbox": list(note.box),
                "area": note.box[2] * note.box[3],
                "iscrowd": 0,
                "attributes": {"posture": note.posture},
            }
            for number, (image, note) in enumerate(rows, 1)
        ],
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
