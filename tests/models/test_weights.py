"""Where weights of a checkpoint follow, within the block alone."""

from pathlib import Path

from dml_lightning.files import write_json
from dml_lightning.models.weights import DESCRIBED, DESCRIPTION, FOLLOW, weights_follow


def test_what_follows_is_told_inside_alone(tmp_path: Path) -> None:
    write_json(tmp_path / DESCRIPTION, {"model_name": "resnet10t"})
    with weights_follow(tmp_path):
        assert FOLLOW.get()
        assert DESCRIBED.get() == {"model_name": "resnet10t"}
        with weights_follow(None, {"model_name": "vit"}):
            assert DESCRIBED.get() == {"model_name": "vit"}
        assert DESCRIBED.get() == {"model_name": "resnet10t"}
    assert not FOLLOW.get()
    assert DESCRIBED.get({}) == {}
