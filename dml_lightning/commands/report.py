"""`dml report` and `dml audit`: results of runs, or of embeddings from any framework, as a page and as tables."""

from dataclasses import replace
from pathlib import Path

from dml_lightning.files import check_output, write_json, write_text
from dml_lightning.report.sources import check_counts, check_source, check_sources
from dml_lightning.runs.names import find_tested
from dml_lightning.types import Projection, ReportFormat

ENDINGS: dict[str, ReportFormat] = {".md": "md", ".csv": "csv", ".tex": "latex"}  # by ending of --out; html for others


def report(
    runs: list[str],
    out: str | None = None,
    format: ReportFormat | None = None,
    metric: str | None = None,
    projection: Projection = "tsne",
    counts: str | None = None,
) -> str:
    """Writes the results of runs: one page that needs no network, or tables for a paper.

    Args:
        runs: Tested runs by folder or name (NAME, NAME@latest), .npz files of embeddings, or one comparison by folder
            or name.
        out: File to write; if not given, report.html for a page, and the terminal for the other formats.
        format: `html` for the page, `md` for its tables in Markdown, `csv` for a row per run with every metric, `latex`
            for the tables of a paper; if not given, it follows from the ending of `out` (.md, .csv, .tex), else html.
        metric: Metric that the answer is about; by default the one that the comparison declared, or balanced_accuracy.
        projection: Method that projects embeddings to the plane.
        counts: Table of `dml count`, .csv, whose flights are shown beside the results, those without a bird too.

    Returns:
        The path of the file, or the text that was printed.

    Raises:
        ValueError: If one of them is no tested run, or the runs cannot be compared.
    """
    sources = [find_tested(run) for run in runs]
    format = format or ENDINGS.get(Path(out or "").suffix, "html")
    path = Path(out or "report.html") if out or format == "html" else None
    if path is not None and (path.is_dir() or not path.name):
        raise ValueError(f"--out {out} is a folder; name the file to write.")
    if path is not None:
        check_output("--out", path, [*sources, *([counts] if counts else [])])
    check_sources(sources)
    if counts:
        check_counts(Path(counts))
    from dml_lightning.report.counts import read_counts
    from dml_lightning.report.inputs import read_inputs
    from dml_lightning.report.text import report_text

    given = read_inputs(sources, metric)
    if counts:
        given = replace(given, counts=read_counts(Path(counts)))
    text = report_text(given, format, projection)
    if path is None:
        print(text, end="")
        return text
    write_text(path, text)
    print(f"{path} ({len(text.encode()) / 1e6:.1f} MB)")
    return str(path)


def audit(file: str, out: str = "audit", projection: Projection = "tsne", rerank: bool = False) -> str:
    """Writes every number and figure of a test for embeddings from any framework.

    OUT/metrics.json has the names and values of a run's metrics/test.json; beside it are detectors.csv,
    classes.csv, class_distances.csv, assumptions.csv, risk_coverage.csv, oscr.csv (with OOD crops), coverage.csv (with
    calibration crops), reranking.csv (with --rerank) and report.html.

    Args:
        file: File of embeddings, .npz, with `vectors` (N, D), `labels` (N,), `roles` (N,), each one of reference,
            known, novel, ood, clutter and calibration, and optionally `groups`, `class_names`, `far_ood`, `logits`,
            `head_weight`, `head_bias`, `reject_weight`, `reject_bias`, `prediction_rule`, `index` and `thumbnails`.
        out: Folder to write.
        projection: Method that projects embeddings to the plane.
        rerank: Whether retrieval is also computed after k-reciprocal re-ranking and with expanded queries, which learn
            from neighbours without labels; expansion is for embeddings of unit length.

    Returns:
        The path of the page.

    Raises:
        ValueError: If the file cannot be read as embeddings; nothing is written then.
    """
    path, folder = Path(file), Path(out)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is not an .npz file of embeddings; dml report takes run folders.")
    if folder.is_file():
        raise ValueError(f"--out {out} is a file; name the folder to write.")
    for name in ("metrics.json", "report.html"):
        check_output("--out", folder / name, [path])
    check_source(path)
    from dml_lightning.evaluation.reranking import reranking_table
    from dml_lightning.report.audit import audit_files, reranked_table
    from dml_lightning.report.inputs import read_inputs
    from dml_lightning.report.page import render_page
    from dml_lightning.report.summary import arms_table

    given = read_inputs([path])
    texts = audit_files(given.runs[0])
    tables = [arms_table(given)]
    if rerank:
        reranked = reranking_table(given.runs[0].evidence)
        texts["reranking.csv"] = reranked.to_csv(index=False)
        tables.append(reranked_table(reranked))
    texts["report.html"] = render_page(given, projection)
    write_json(folder / "metrics.json", {f"test/{k}": v for k, v in given.runs[0].metrics.items()})
    for name, text in texts.items():
        write_text(folder / name, text)
    print("\n".join(table.markdown() for table in tables))
    print(f"{folder}: {', '.join(sorted(['metrics.json', *texts]))}")
    return str(folder / "report.html")
