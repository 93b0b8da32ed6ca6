"""What is known of a gallery without its embeddings."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from dml_lightning.gallery import changes
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import GallerySummary
from tests.gallery.crops import DIGEST, crops


def test_a_summary_says_what_the_gallery_says(stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    changes.add_species(stored, "smew", crops(6, 5, 0), DIGEST)
    changes.remove_species(stored, "smew")
    summary, gallery = GallerySummary.load(stored), Gallery.load(stored)
    assert (summary.names, summary.version, summary.file) == (gallery.names, gallery.version, gallery.file)
    assert (summary.why, summary.default_rule, summary.prior) == (gallery.why, gallery.default_rule, gallery.prior)
    assert repr(summary.thresholds) == repr(gallery.thresholds)
    assert summary.distance_threshold() == gallery.distance_threshold()
    assert [species.radius for species in summary.enrolled] == [species.radius for species in gallery.enrolled]
    assert np.array_equal(summary.radii, gallery.prototypes.radii)
    assert np.array_equal(summary.sizes, np.bincount(gallery.reference.labels.numpy()))
    for one, other in zip(summary.calibration_scores(), gallery.calibration_scores(), strict=True):
        assert np.array_equal(one, other)


def test_a_summary_is_read_without_pytorch(stored: Path) -> None:
    code = "import sys; from pathlib import Path; from dml_lightning.gallery.summary import GallerySummary as S"
    code += f"; print(S.load(Path({str(stored)!r})).default_rule, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "C False\n"
