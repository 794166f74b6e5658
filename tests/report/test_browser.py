"""The page in headless Chromium: it fits desktop and phone, is readable in both themes, and its scripts run.

Skipped where there is no Chromium.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from fedsiege.report import build
from fedsiege.report.serve import Handler, Server, site
from tests.report.carded import write_cell
from tests.report.test_contest import write_backdoor

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DESKTOP, PHONE = 1280, 390

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

PROBE = """<!doctype html><title>probe</title>
<iframe id="page" src="page.html" style="border:0;width:%dpx;height:900px"></iframe><pre id="found"></pre>
<script>
function luminance(colour) {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(c => {
    c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(node) {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
}
function look(page, theme) {
  page.documentElement.dataset.theme = theme;
  let least = 99, where = "";
  for (const node of page.querySelectorAll("p, td, th, h1, h2, h3, a, button, figcaption, li, summary")) {
    if (!node.textContent.trim() || !node.getClientRects().length) continue;
    const [a, b] = [getComputedStyle(node).color, background(node)].map(luminance).sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < least) { least = contrast; where = node.tagName + ": " + node.textContent.trim().slice(0, 60); }
  }
  const root = page.documentElement;
  return {
    contrast: least, where, dark: luminance(getComputedStyle(page.body).backgroundColor) < 0.2,
    over: root.scrollWidth - root.clientWidth, charts: page.querySelectorAll("svg, canvas").length,
  };
}
document.getElementById("page").addEventListener("load", () => setTimeout(() => {
  const page = document.getElementById("page").contentDocument;
  document.getElementById("found").textContent = JSON.stringify({light: look(page, "light"), dark: look(page, "dark")});
}, 4000));
</script>"""


SWITCH = """<!doctype html><title>probe</title>
<iframe id="page" src="page.html" style="border:0;width:1280px;height:900px"></iframe><pre id="found"></pre>
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
document.getElementById("page").addEventListener("load", async () => {
  const page = document.getElementById("page").contentDocument;
  const figure = page.querySelector('figure[data-chart="grid"]');
  const [group, metric] = figure.querySelectorAll("select");
  const look = () => ({ group: group.value, metric: metric.value, text: figure.querySelector(".stage").textContent });
  const pick = async (select, value) => {
    select.value = value;
    select.dispatchEvent(new Event("change"));
    await wait(1500);
  };
  await wait(3000);
  const seen = [look()];
  const [first, second] = [...group.options].map((option) => option.value);
  await pick(group, second);
  seen.push(look());
  await pick(group, first);
  seen.push(look());
  await pick(metric, "TACC");
  seen.push(look());
  document.getElementById("found").textContent = JSON.stringify(seen);
});
</script>"""


LIVE = """<!doctype html><title>probe</title>
<iframe id="page" src="/" style="border:0;width:1280px;height:900px"></iframe><pre id="found"></pre>
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const frame = document.getElementById("page");
const inside = () => frame.contentDocument;
const look = () => ({
  token: inside().getElementById("live").dataset.state,
  ranks: [...inside().querySelectorAll("table.board th[data-v]")].map((head) => head.dataset.v),
  open: [...inside().querySelectorAll('button.open[aria-expanded="true"]')].map((button) => button.textContent),
  folds: [...inside().querySelectorAll("details[open]:not(.vega-embed details) > summary")].map((s) => s.textContent),
  focus: inside().activeElement.textContent, only: inside().body.textContent.includes("Only lie against krum"),
});
addEventListener("load", async () => {
  await wait(3000);
  const row = [...inside().querySelectorAll("button.open")].find((button) => button.textContent === "krum");
  row.click();
  inside().querySelector(`#${row.getAttribute("aria-controls")} details.commands`).open = true;
  [...inside().querySelectorAll("summary")].filter((s) => s.textContent.startsWith("As a table")).at(-1).click();
  inside().querySelector('a.curve[data-attack="lie"][data-defense="krum"]').click();
  row.focus();
  await wait(500);
  const before = look();
  await fetch("/more");
  for (let i = 0; i < 100 && inside()?.getElementById("live")?.dataset.state === before.token; i++) await wait(200);
  await wait(3000);
  await fetch("/found", { method: "PUT", body: JSON.stringify([before, look()]) });
});
</script>"""


def chromium(folder: Path, page: str, *options: str) -> tuple[str, str]:
    """Return the document after its scripts ran, and what was written to the console."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--allow-file-access-from-files",
            "--virtual-time-budget=12000", "--dump-dom", *options, (folder / page).as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page of a card's store, drawn with the real scripts."""
    root = tmp_path_factory.mktemp("browser")
    for attack in ("none", "fang", "lie", "adaptive(lie)"):
        for defense in ("none", "median", "krum", "union+multikrum"):
            for seed in range(3):
                write_cell(root / "runs", attack, defense, seed)
    build(root / "runs", root / "page.html", "Board")
    return root


@pytest.fixture(scope="module")
def looks(folder: Path) -> dict[int, dict[str, Any]]:
    found = {}
    for width in (DESKTOP, PHONE):
        (folder / "probe.html").write_text(PROBE % width, encoding="utf-8")
        document, _ = chromium(folder, "probe.html", f"--window-size={DESKTOP + 100},1000")
        text = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
        assert text
        found[width] = json.loads(html.unescape(text.group(1)))
    return found


@pytest.mark.usefixtures("real_bundle")
def test_scripts_run_without_a_complaint_and_draw(folder: Path) -> None:
    document, console = chromium(folder, "page.html")
    assert console == ""
    assert document.count("<svg") > (folder / "page.html").read_text(encoding="utf-8").count("<svg")


@pytest.mark.usefixtures("real_bundle")
def test_another_setting_is_shown_in_its_own_metric(tmp_path: Path) -> None:
    for attack in ("none", "fang"):
        write_cell(tmp_path / "runs", attack, "none", 0)
    build(write_backdoor(tmp_path / "runs"), tmp_path / "page.html", "Board")
    (tmp_path / "probe.html").write_text(SWITCH, encoding="utf-8")
    document, console = chromium(tmp_path, "probe.html", f"--window-size={DESKTOP + 100},1000")
    assert console == ""
    text = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
    assert text
    seen = json.loads(html.unescape(text.group(1)))
    assert [look["metric"] for look in seen] == ["ASR", "HR@5", "ASR", "TACC"]
    rate, change = "the score itself (high is good for the attacker)", "change against no attack, no defense"
    for look, legend, top in zip(seen, (rate, change, rate, change), ("100%", "−60%", "100%", "−60%")):
        assert legend in look["text"]
        assert top in look["text"]


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_and_is_readable(looks: dict[int, dict[str, Any]], width: int, theme: str) -> None:
    look = looks[width][theme]
    assert look["dark"] == (theme == "dark")
    assert look["over"] <= 0
    # WCAG 2.1, AA: 4.5 for text.
    assert look["contrast"] >= 4.5, look["where"]


@pytest.mark.usefixtures("real_bundle")
def test_what_a_reader_opened_stays_open_when_results_come(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for attack in ("none", "lie"):
        for defense in ("none", "krum"):
            write_cell(root, attack, defense, 0)
    told: list[Any] = []
    done = threading.Event()

    class Probe(Handler):
        """The page in a frame that may be looked into, and what a test needs beside it."""

        def do_GET(self) -> None:
            if self.path == "/probe":
                return self._send(HTTPStatus.OK, "text/html", LIVE.encode(), True)
            if self.path == "/more":
                for attack in ("none", "lie"):
                    write_cell(root, attack, "union+multikrum", 0)
                return self._send(HTTPStatus.OK, "text/plain", b"", True)
            return super().do_GET()

        def do_PUT(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            done.set()
            self._send(HTTPStatus.OK, "text/plain", b"", True)

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "X-Frame-Options":
                super().send_header(keyword, value)

    with Server(site(root, "Live")) as server:
        server.RequestHandlerClass = Probe
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        browser = subprocess.Popen(
            [
                str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={DESKTOP + 100},1000", f"{server.url}probe",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert done.wait(120)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
            thread.join()
    before, after = told
    assert before["ranks"] == ["none", "krum"]
    assert after["ranks"] == ["union+multikrum", "none", "krum"]
    assert after["token"] != before["token"]
    assert after["open"] == before["open"] == ["krum"]
    assert len(before["folds"]) == 2
    assert after["folds"] == before["folds"]
    assert after["focus"] == before["focus"] == "krum"
    assert after["only"]
    assert before["only"]
