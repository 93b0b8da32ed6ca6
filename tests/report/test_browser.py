"""The page in a browser: drawn, quiet, readable on a phone, and deaf to hostile names."""

import base64
import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dml_lightning.cli import main
from tests.made_up import Made

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="no /usr/bin/chromium and chromedriver"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = (
    "<script>document.body.dataset.hacked=1;alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"}],x:[{"',
    "</script><b id=injected>swan</b>",
    "%{x} $a$ &lt;b id=injected&gt;",
    "javascript:alert(3)//'`",
)
ARM = "<b id=injected>x"  # also the name of a file
Browser = Any


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Path:
    """Two arms on the same crops, classes and one arm with hostile names."""
    folder = tmp_path_factory.mktemp("page")
    for seed, name in enumerate(("plain", ARM)):
        arrays = made(names=HOSTILE, calibration=20)
        arrays["groups"] = np.char.add(arrays["groups"], "<i id=injected>")
        turn = np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32)
        np.savez(folder / f"{name}.npz", **arrays | {"vectors": arrays["vectors"] @ turn})
    files = [str(folder / f"{name}.npz") for name in ("plain", ARM)]
    return Path(main(["report", *files, "-o", str(folder / "report.html")]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def opened(browser: Browser, page: Path, width: int = 1280) -> Browser:
    """The page at a width in px, when all is drawn."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    ready = "return document.documentElement.dataset.ready === 'true'"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(ready))
    return browser


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_drawn_and_as_wide_as_the_screen(browser: Browser, page: Path, width: int) -> None:
    browser.get_log("browser")
    opened(browser, page, width)
    assert browser.get_log("browser") == []
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert browser.execute_script("return innerWidth") == width
    widest = (
        "return [...document.querySelectorAll('main > section > *, main figure, header > *')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    assert browser.execute_script(widest) == []
    empty = (
        "return [...document.querySelectorAll('.plot')].filter(p => "
        "!p.querySelector('.point, .js-line, .hm image')).map(p => p.getAttribute('aria-label'))"
    )
    assert browser.execute_script(empty) == []
    shot = Image.open(io.BytesIO(base64.b64decode(browser.get_screenshot_as_base64())))
    assert len(np.unique(np.asarray(shot.convert("L")))) > 30


def test_nothing_is_loaded_and_the_page_is_small(browser: Browser, page: Path) -> None:
    opened(browser, page)
    loaded = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    assert browser.execute_script(loaded) == []
    assert page.stat().st_size < 10e6


def point(browser: Browser, arm: int, pool_row: int) -> tuple[float, float]:
    """Where a crop is drawn, in px of the window, with its projection scrolled to the middle."""
    return tuple(
        browser.execute_async_script(
            """
            const [number, row, done] = arguments;
            const plot = document.querySelectorAll(".projection")[number];
            plot.scrollIntoView({block: "center", behavior: "instant"});
            const arm = JSON.parse(document.getElementById("embeddings").textContent).arms[number];
            const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
            const x = box.left + xaxis._offset + xaxis.d2p(arm.x[row]);
            const place = [x, box.top + yaxis._offset + yaxis.d2p(arm.y[row])];
            requestAnimationFrame(() => requestAnimationFrame(() => done(place))); // scrolling hides the card
            """,
            arm,
            pool_row,
        )
    )


def lonely_row(browser: Browser) -> int:
    """The crop of the first arm that is farthest from its neighbours, so that a hover can mean no other."""
    shown = browser.execute_script("return JSON.parse(document.getElementById('embeddings').textContent).arms[0]")
    points = np.stack([shown["x"], shown["y"]], axis=1)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    return int(distances.min(1).argmax())


def test_hovering_shows_the_crop_and_finds_it_in_the_other_arm(browser: Browser, page: Path) -> None:
    opened(browser, page)
    row = lonely_row(browser)
    x, y = point(browser, 0, row)
    for dx in (9, 0):
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + dx, "y": y})
    card = browser.find_element("id", "card")
    WebDriverWait(browser, 10).until(lambda _: card.is_displayed())
    pool = browser.execute_script("return JSON.parse(document.getElementById('embeddings').textContent).pools[0]")
    name = HOSTILE[pool["labels"][row]]
    assert name in card.text
    rings = browser.execute_script(
        "return [...document.querySelectorAll('.ring')].map(r => [r.hidden, r.getBoundingClientRect().left + 11])"
    )
    assert [hidden for hidden, _ in rings] == [False, False]
    assert rings[0][1] == pytest.approx(x, abs=1)
    assert rings[1][1] == pytest.approx(point(browser, 1, row)[0], abs=1)
    shown = card.find_element("css selector", ".thumb").screenshot_as_base64
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("L"))
    centres = ((np.arange(8) + 0.5) * len(picture) / 8).astype(int)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(pool["sprite"].split(",")[1]))))
    tiles = sheet.reshape(-1, 8, 40, 8).swapaxes(1, 2).reshape(-1, 8, 8).astype(int)
    apart = np.abs(tiles - picture[np.ix_(centres, centres)].astype(int)).mean((1, 2))
    assert int(apart.argmin()) == row
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 3, "y": 3})
    WebDriverWait(browser, 10).until(lambda _: not card.is_displayed())


def test_choosing_a_class_highlights_it_in_every_arm(browser: Browser, page: Path) -> None:
    opened(browser, page)
    opacities = "return [...document.querySelectorAll('.projection')].map(p => p.data.map(t => t.opacity ?? 1))"
    buttons = browser.find_elements("css selector", ".classes button")
    assert [button.text for button in buttons] == [" ".join(name.split()) for name in HOSTILE]
    buttons[3].click()
    assert buttons[3].get_attribute("aria-pressed") == "true"
    assert browser.execute_script(opacities) == [[0.08] * 3 + [1] + [0.08] * 2] * 2
    buttons[3].click()
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 3, "y": 3})
    assert browser.execute_script(opacities) == [[1] * 6] * 2


def test_hostile_names_stay_text(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.find_elements("id", "injected") == []
    assert browser.execute_script("return document.body.dataset.hacked ?? null") is None
    assert browser.execute_script("return document.scripts.length") == 5  # Plotly once packed, once unpacked
    pictures = "return [...document.querySelectorAll('img')].every(i => i.src.startsWith('data:image/png'))"
    assert browser.execute_script(pictures)
    assert browser.execute_script("return document.querySelectorAll('svg a, svg image[href^=http]').length") == 0
    text = browser.execute_script("return document.querySelector('main').textContent")
    for name in (*HOSTILE, ARM):
        assert name in text
    ticks = browser.execute_script("return [...document.querySelectorAll('.ytick text')].map(e => e.textContent)")
    assert {HOSTILE[1], HOSTILE[2]} <= set(ticks)  # letter by letter
    assert "%{x} $a$ &lt;b…=injected&gt;" in ticks


def test_everything_seen_is_also_said(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.execute_script("return document.documentElement.lang") == "en"
    headings = browser.execute_script("return [...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    silent = (
        "return [...document.querySelectorAll('.plot')].filter(p => !p.getAttribute('aria-label')).length"
        " + [...document.querySelectorAll('img')].filter(i => !i.alt).length"
        " + [...document.querySelectorAll('.plot[data-figure]')]"
        ".filter(p => !p.parentNode.querySelector('details table')).length"
    )
    assert browser.execute_script(silent) == 0
