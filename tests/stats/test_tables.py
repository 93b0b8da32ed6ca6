"""Tables in a document and in a paper."""

from dml_lightning.stats.tables import Table

HOSTILE = 'a|b_<script>alert(1)</script>&"\\'


def test_markdown_escapes_what_would_be_markup() -> None:
    text = Table("t", ["name", "n"], [[HOSTILE, 1.23456], ["b\nc", float("nan")]], "x").markdown()
    lines = text.splitlines()
    assert lines[2] == "| name | n |"
    assert lines[3] == "| --- | ---: |"
    assert lines[4] == r'| a\|b\_&lt;script&gt;alert(1)&lt;/script&gt;&amp;"\\ | 1.235 |'
    assert lines[5] == "| b c | – |"
    assert lines[-1] == "x"


def test_latex_escapes_its_signs() -> None:
    text = Table("50 %", ["a_b", "n"], [["x & {y}~^#$ ± 1", "0.100 (0.080 to 0.120)"], ["\\", -0.5]]).latex()
    assert r"\caption{50 \%}" in text
    assert r"  a\_b & n \\" in text
    assert r"  x \& \{y\}\textasciitilde{}\textasciicircum{}\#\$ $\pm$ 1 & 0.100 (0.080 to 0.120) \\" in text
    assert r"  \textbackslash{} & $-$0.500 \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_a_row_is_no_argument_of_the_end_of_the_row_above() -> None:
    rows = [[name, 1] for name in ("a", "[b]", "*c", "d [e]*")]
    lines = Table("t", ["[name]", "n"], rows).latex().splitlines()
    assert "  {}[name] & n \\\\" in lines
    assert lines[7:11] == [rf"  {name} & 1 \\" for name in ("a", "{}[b]", "{}*c", "d [e]*")]


def test_csv_keeps_every_digit_and_nothing_for_nan() -> None:
    text = Table("t", ["a,b", "n"], [["x,y", 0.1234567891], ["z", float("nan")]]).csv()
    assert text == '"a,b",n\n"x,y",0.1234567891\nz,\n'


def test_a_column_of_words_is_no_column_of_numbers() -> None:
    rows = [["x", 1, "0.1 [0.0, 0.2]", "0.1 [−0.1, 0.2]"], ["y", 2.0, "none", "0.2 (0.1 to 0.3)"], ["z", 3, "–", "–"]]
    table = Table("t", ["a", "b", "c", "d"], rows)
    assert [table.is_number(c) for c in range(4)] == [False, True, False, True]
