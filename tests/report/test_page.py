"""One file that holds everything, and is the same when it is written again."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from dml_lightning.cli import main
from tests.made_up import Made
from tests.report.audits import audited


def test_json_ends_no_script_element_and_says_the_same(tmp_path: Path, made: Made) -> None:
    names = ("</script><!--", "b", "c", "d", "e", "f")
    page = audited(tmp_path, made(names=names))
    text = re.search(r'id="embeddings">(.*?)</script>', page, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert "<" not in text
    assert json.loads(text)["classes"][0]["name"] in names
    assert "</script><!--" in [style["name"] for style in json.loads(text)["classes"]]


def test_arms_on_other_crops_have_pictures_of_their_own(tmp_path: Path, made: Made) -> None:
    for name, spread in (("a", 0.1), ("b", 0.2)):
        np.savez(tmp_path / f"{name}.npz", **made(spread=spread))
    fewer = made()
    kept = np.arange(len(fewer["roles"])) != int(np.flatnonzero(fewer["roles"] == "ood")[0])
    fewer = {k: v[kept] if len(v) == len(kept) else v for k, v in fewer.items()}
    np.savez(tmp_path / "c.npz", **fewer)
    files = [str(tmp_path / f"{name}.npz") for name in "abc"]
    page = Path(main(["report", *files, "-o", str(tmp_path / "r.html")])).read_text()
    shown = json.loads(re.search(r'id="embeddings">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert [arm["pool"] for arm in shown["arms"]] == [0, 0, 1]
    assert "whether the arms saw the same crops is for their makers to say" in page


def test_a_page_is_the_same_when_it_is_written_again(tmp_path: Path, made: Made) -> None:
    np.savez(tmp_path / "a.npz", **made())
    pages = [
        Path(main(["report", str(tmp_path / "a.npz"), "-o", str(tmp_path / name)])).read_text()
        for name in ("1.html", "2.html")
    ]
    assert pages[0] == pages[1]


def test_large_thumbnails_are_made_small(tmp_path: Path, made: Made) -> None:
    content = made()
    noise = np.random.default_rng(0).integers(0, 256, size=(len(content["labels"]), 400, 400))
    page = audited(tmp_path, content | {"thumbnails": noise.astype(np.uint8)})
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    sides = {Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures}
    assert sides == {(128, 128)}
