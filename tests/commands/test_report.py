"""`dml report` and `dml audit` from their words to their files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.cli import main
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.openset import PrototypeDetector
from tests.made_up import Made, RunOf


def test_markdown_goes_to_the_terminal_or_to_a_file(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(run_of(arm, seed)) for arm in ("softmax", "triplet") for seed in (0, 1)]
    main(["report", *runs, "--format", "md"])
    text = capsys.readouterr().out
    assert text.startswith("# softmax, triplet\n\nNo difference shown between triplet and softmax")
    for title in ("Arms on the test split", "Difference to softmax", "OOD AUROC by detector", "Conditions on"):
        assert f"**{title}" in text
    assert "| number | softmax | triplet |" in text
    main(["report", *runs, "--format", "md", "-o", str(tmp_path / "r.md")])
    assert (tmp_path / "r.md").read_text() == text


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.md", "# triplet"), ("r.csv", "arm,"), ("r.tex", r"\begin{table}"), ("r.htm", "<!doctype html>")],
)
def test_the_ending_of_the_file_says_the_format(run_of: RunOf, tmp_path: Path, name: str, start: str) -> None:
    main(["report", str(run_of("triplet")), "-o", str(tmp_path / name)])
    assert (tmp_path / name).read_text().startswith(start)


def test_csv_has_a_row_per_run_with_every_number(run_of: RunOf, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run_of("triplet", seed) for seed in (0, 1)]
    main(["report", *map(str, runs), "--format=csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["arm"], row["seed"]) for row in rows] == [("triplet", "0"), ("triplet", "1")]
    numbers = json.loads((runs[1] / "metrics" / "test.json").read_text())
    assert float(rows[1]["map_at_r"]) == numbers["test/map_at_r"]


def test_latex_has_booktabs(run_of: RunOf, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(run_of("triplet")), "--format=latex"])
    text = capsys.readouterr().out
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") >= 4
    assert r"\toprule" in text


def test_a_single_run_says_what_it_is(run_of: RunOf, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(run_of("triplet")), "--format=md"])
    answer = capsys.readouterr().out.splitlines()[2]
    assert answer.startswith("triplet: balanced accuracy 0.")
    assert "on 45 crops of 3 known classes, and an AUROC of" in answer
    assert answer.endswith("One run says nothing of other seeds.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nowhere"], "nowhere is neither a run's folder"),
        (["report"], "dml report: the following arguments are required: runs"),
        (["report", "nowhere", "--form=md"], "unrecognized arguments: --form=md"),
        (["audit", "x.npz", "--projection=umap"], "projection: umap is not one of 'tsne', 'pca'"),
        (["gallery"], 'expected "subcommand" to be one of {list,remove,recalibrate}'),
        (["theory", "margin", "--classes=a", "--dim=3"], "classes: a is not a whole number"),
        (["audit", "x.txt"], "x.txt is not an .npz file of embeddings"),
        (["audit", "x.npz"], "x.npz: there is no such file"),
    ],
)
def test_wrong_words_give_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.splitlines()) == 1


def test_a_folder_is_no_file_to_write(run_of: RunOf, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["report", str(run_of("triplet")), "-o", str(tmp_path)])


def test_an_audit_writes_numbers_tables_and_a_page(tmp_path: Path, made: Made) -> None:
    np.savez(tmp_path / "theirs.npz", **made(calibration=20, thumbnails=False))
    out = tmp_path / "out"
    assert main(["audit", str(tmp_path / "theirs.npz"), "--out", str(out)]) == str(out / "report.html")
    assert {path.name for path in out.iterdir()} == {
        "metrics.json",
        "detectors.csv",
        "class_distances.csv",
        "classes.csv",
        "assumptions.csv",
        "risk_coverage.csv",
        "oscr.csv",
        "coverage.csv",
        "report.html",
    }
    numbers = json.loads((out / "metrics.json").read_text())
    assert {"test/accuracy", "test/ood_auroc", "test/novel_map_at_r", "test/ood_auroc_glint"} <= set(numbers)
    conditions = dict(csv.reader((out / "assumptions.csv").read_text().splitlines()))
    evidence = read_evidence(tmp_path / "theirs.npz")
    known, reference = evidence.sets["known"], evidence.sets["reference"]
    detector = PrototypeDetector().fit(reference.vectors, reference.labels)
    own = detector.distances(known.vectors.numpy())[np.arange(45), known.labels.numpy()]
    inside = (own <= detector.radii[known.labels.numpy()]).mean()
    assert float(conditions["known_inside"]) == pytest.approx(inside)
    curves = {name: np.genfromtxt(out / f"{name}.csv", delimiter=",", names=True) for name in ("oscr", "risk_coverage")}
    assert np.trapezoid(curves["oscr"]["correct"], curves["oscr"]["false"]) == pytest.approx(numbers["test/oscr"])
    assert curves["oscr"]["correct"][-1] == pytest.approx(numbers["test/accuracy"])
    assert curves["risk_coverage"]["risk"][-1] == pytest.approx(1 - numbers["test/accuracy"])
    refused = list(csv.DictReader((out / "coverage.csv").read_text().splitlines()))
    assert {row["flight"] for row in refused} == {"all", *(f"flight_{n}" for n in range(4))}


def test_an_audit_re_ranks_when_it_is_asked_to(tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "theirs.npz", **made(thumbnails=False))
    out = tmp_path / "out"
    main(["audit", str(tmp_path / "theirs.npz"), "--out", str(out), "--rerank=true", "--projection=pca"])
    rows = list(csv.DictReader((out / "reranking.csv").read_text().splitlines()))
    numbers = json.loads((out / "metrics.json").read_text())
    assert float(rows[0]["map_at_r"]) == numbers["test/map_at_r"]
    printed = capsys.readouterr().out
    for row in rows:
        map_at_r = f"{float(row['map_at_r']):.3f}"
        assert any(
            line.startswith(f"| {row['set']} | {row['method']} |") and map_at_r in line for line in printed.splitlines()
        )


def test_an_audit_of_nonsense_writes_nothing(tmp_path: Path, made: Made) -> None:
    arrays = made()
    arrays["vectors"][3, 0] = np.nan
    np.savez(tmp_path / "theirs.npz", **arrays)
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / "theirs.npz"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
