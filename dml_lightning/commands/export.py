"""`dml export`: writes a finished run as a folder that needs neither this package nor PyTorch."""

from pathlib import Path

from dml_lightning.data.frames import Unit
from dml_lightning.errors import missing_extra
from dml_lightning.files import check_output
from dml_lightning.gallery.records import check_trained
from dml_lightning.runs.names import find_run
from dml_lightning.trust import modules_of


def export(run: str, out: str, unit: Unit | None = None, trust: str | None = None) -> Path:
    """Writes encoder (ONNX and PyTorch), normalisation, gallery, thresholds and a reader into one folder.

    The folder needs neither this package nor PyTorch: `python OUT/score.py frame.tiff --boxes boxes.csv` names every
    box with numpy, onnxruntime and safetensors. Before the folder appears, its answers are compared with those
    of the run, on random crops and, if the run's data can still be read, on its frames.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.
        out: Folder to write, which must not exist or be empty; it appears when it is complete.
        unit: Unit of the frames, counts or degC; by default that of the run's own frames. It sets the noise floor of
            the normalisation.
        trust: Modules whose classes the run's recipe may name beside the listed ones, joined by commas.

    Returns:
        The folder.

    Raises:
        ValueError: If the run is not finished, the folder is not empty, a package is missing, or the answers of the
            exported model differ from those of the run.
    """
    folder = Path(out)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"--out {out} exists already; name a folder that does not, or an empty one.")
    check_output("--out", folder)
    if missing := missing_extra("export"):
        raise ValueError(missing)
    trusted = modules_of(trust)
    check_trained(find_run(run))
    from dml_lightning.export.folder import megabytes, table_of, unit_of, write_folder
    from dml_lightning.gallery.trained import TrainedRun

    trained = TrainedRun.load(run, trust=trusted)
    table = table_of(trained, trusted)
    lines = write_folder(trained, folder, unit_of(trained, table, unit), table)
    print("\n".join([*lines, f"{folder}: {megabytes(folder):.1f} MB; start with README.md."]))
    return folder
