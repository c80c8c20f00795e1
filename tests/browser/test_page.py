"""The page in a real Chromium without a window: `pip install -e '.[browser]'`, then `pytest -m browser`.

Pictures of the page are kept if SCOPE_BATCH_SCREENSHOTS names a folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serve.server_process import Running, running

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE_MS, POLL_MS = 60_000, 50
TOKEN = "a-token-of-the-browser-test"
SHORT = "pipeline_id: slate\nprompt: a cat\nnum_frames: 45\nheight: 64\nwidth: 96\n"
LONG = SHORT.replace("45", "10000").replace("64", "480").replace("96", "832")
HOSTILE = "<img src=x onerror='window.harmed=1'></script><script>window.harmed=1</script>&lt;b&gt; ‮ "
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const node of document.body.querySelectorAll("*")) {
    const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!hasText || !node.checkVisibility() || node.disabled) continue;
    const pair = [light(getComputedStyle(node).color), light(behind(node))].sort();
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) weak.push(`${node.tagName} ${node.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Any]:
    if "browser" not in request.config.option.markexpr:
        pytest.skip("runs under pytest -m browser")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Running]:  # noqa: ARG001  (may skip)
    with running(tmp_path_factory.mktemp("server"), "--queue", "3") as started:
        yield started


@pytest.fixture(autouse=True)
def _no_job_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        http = request.getfixturevalue("server").http
        for job in http.get("/api/v1/jobs").json()["jobs"]:
            http.delete(f"/api/v1/batch/{job['job']}")


@contextmanager
def opened(browser: Any, url: str, *, width: int = 1280, scheme: str = "light", errors: str = "none") -> Iterator[Any]:
    """Open the page. At the end it must be no wider than the window, and have logged only what holds `errors`."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    logged: list[str] = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(url)
    try:
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [text for text in logged if errors not in text] == []
    finally:
        context.close()


def keep(page: Any, name: str) -> None:
    if folder := os.environ.get("SCOPE_BATCH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def paste(page: Any, text: str) -> None:
    page.get_by_label("Job file").fill(text)


def start(page: Any, text: str) -> None:
    paste(page, text)
    page.get_by_role("button", name="Start").click()


def wait_until(page: Any, expression: str) -> None:
    """Wait for a condition. The page's policy forbids `eval`, by which playwright's own function waits."""
    for _ in range(PATIENCE_MS // POLL_MS):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(POLL_MS)
    raise AssertionError(f"in vain: {expression}")


def wait_for_state(page: Any, state: str) -> None:
    wait_until(page, f"document.getElementById('job-state').textContent === '{state}'")


def url_of(server: Running) -> str:
    return str(server.http.base_url)


def test_a_mistake_is_named_at_its_line_while_it_is_typed(server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server)) as page:
        paste(page, SHORT + "colour: red\n")
        page.get_by_text("unknown key").wait_for()
        assert page.get_by_role("button", name="Start").is_disabled()
        assert page.locator("#lines .wrong").all_inner_texts() == ["6"]
        keep(page, "mistake")
        page.get_by_role("button", name="Line 6").click()
        page.keyboard.press("Shift+End")
        assert page.evaluate("getSelection().toString()") == "colour: red"
        page.keyboard.press("Delete")
        page.get_by_text("This job can be started").wait_for()
        assert page.get_by_role("button", name="Start").is_enabled()
        assert page.locator("#plan tbody tr").count() == 4


def test_a_job_is_watched_from_its_start_to_its_video(server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server)) as page:
        start(page, LONG.replace("10000", "1200"))
        wait_for_state(page, "running")
        wait_until(page, "document.getElementById('picture').naturalWidth > 0")
        first = page.locator("#picture").get_attribute("src")
        wait_until(page, f"document.getElementById('picture').src !== '{first}'")
        assert re.search(r"chunk \d+ of 101.*fps.*left", page.locator("#job-numbers").inner_text())
        assert 0 < page.evaluate("document.getElementById('job-progress').value") < 1
        keep(page, "running")
        wait_for_state(page, "done")
        wait_until(page, "document.getElementById('video').readyState >= 2")
        page.evaluate("document.getElementById('video').play()")
        wait_until(page, "document.getElementById('video').currentTime > 0.2")
        page.evaluate("document.getElementById('video').currentTime = 70")  # far behind: a range of the file
        wait_until(page, "document.getElementById('video').readyState >= 2 && !video.seeking")
        keep(page, "done")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download MP4").click()
        assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
        page.get_by_text("Plan of this job").click()
        wait_until(page, "document.querySelectorAll('#job-plan tbody tr').length === 101")
        page.get_by_role("button", name="Delete").click()
        wait_until(page, "document.querySelectorAll('#jobs li').length === 0")


def test_a_job_is_cancelled_and_the_next_one_runs(server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server)) as page:
        start(page, LONG)
        wait_for_state(page, "running")
        start(page, SHORT)
        page.get_by_text("1 job before it").first.wait_for()
        page.locator("#jobs li").nth(1).get_by_role("button").click()
        page.get_by_role("button", name="Cancel").click()
        wait_for_state(page, "cancelled")
        page.locator("#jobs li").first.get_by_role("button").click()
        wait_for_state(page, "done")
        wait_until(page, "document.getElementById('video').readyState >= 2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable(scheme: str, width: int, server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server), width=width, scheme=scheme) as page:
        start(page, SHORT.replace("a cat", "word" * 60))
        wait_for_state(page, "done")
        wait_until(page, "document.getElementById('video').readyState >= 2")
        keep(page, f"{scheme}-{width}")
        paste(page, SHORT + f"output: x.mp4\n{'key' * 50}: 1\n")
        page.get_by_text("unknown key").wait_for()
        keep(page, f"{scheme}-{width}-mistake")
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate(
            "getComputedStyle(document.body).colorScheme || matchMedia('(prefers-color-scheme: dark)').matches"
        )
        is_dark = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice(4)) < 128")
        assert is_dark == (scheme == "dark")
        small = (
            "[...document.querySelectorAll('button, a')].filter(e => e.checkVisibility() && e.offsetHeight < 32).length"
        )
        assert page.evaluate(small) == 0


def test_texts_of_strangers_stay_texts(server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server)) as page:
        quoted = f'"{HOSTILE}"'
        start(page, SHORT.replace("a cat", quoted))
        wait_for_state(page, "done")
        page.get_by_text("Plan of this job").click()
        page.locator("#job-plan tbody tr").first.wait_for()
        assert page.locator("#job-prompt").inner_text().strip() == HOSTILE.strip()
        paste(page, SHORT + f"{quoted}: 1\n")
        page.locator("#remarks").get_by_text("onerror").wait_for()
        assert page.locator("#jobs img, #remarks img, #plan img, #job-plan img, main script").count() == 0
        assert page.evaluate("window.harmed") is None


def test_warnings_about_a_stranger_s_request_stay_texts(server: Running, chromium: Any) -> None:
    server.http.post("/api/v1/pipeline/load", json={"pipeline_ids": ["slate"]})
    request = {
        "prompt": "a cat",
        "num_frames": 12,
        "height": 64,
        "width": 64,
        "<img src=x onerror='window.harmed=1'>": 1,
    }
    server.http.post("/api/v1/batch", json=request)
    with opened(chromium, url_of(server)) as page:
        page.locator("#messages").get_by_text("onerror").wait_for()
        assert page.locator("#messages img").count() == 0
        assert page.evaluate("window.harmed") is None


def test_a_script_of_a_stranger_would_not_run(server: Running, chromium: Any) -> None:
    add = "() => document.body.append(Object.assign(document.createElement('script'), {text: 'window.harmed = 1'}))"
    with opened(chromium, url_of(server), errors="Trusted") as page:
        with pytest.raises(sync_api.Error, match="TrustedScript"):
            page.evaluate(add)
        with pytest.raises(sync_api.Error, match="TrustedHTML"):
            page.evaluate("() => { document.body.innerHTML = '<b>x</b>'; }")
        assert page.evaluate("window.harmed") is None


def test_it_is_used_by_keyboard(server: Running, chromium: Any) -> None:
    with opened(chromium, url_of(server)) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "text"
        page.keyboard.insert_text(SHORT)
        page.get_by_text("This job can be started").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "start"
        page.keyboard.press("Enter")
        wait_for_state(page, "done")


def test_the_page_goes_on_when_the_server_is_back(tmp_path: Path, chromium: Any) -> None:
    with ExitStack() as closing:
        first = closing.enter_context(running(tmp_path))
        page = closing.enter_context(opened(chromium, url_of(first), errors="net::ERR_"))
        start(page, LONG)
        wait_until(page, "document.getElementById('picture').naturalWidth > 0")
        first.process.kill()
        page.get_by_text("The server cannot be reached").wait_for()
        keep(page, "lost")
        again = closing.enter_context(running(tmp_path, "--port", str(first.http.base_url.port)))
        page.get_by_text("The server cannot be reached").wait_for(state="hidden")
        before = page.evaluate("document.getElementById('job-progress').value")
        wait_until(page, f"document.getElementById('job-progress').value > {before}")
        page.get_by_role("button", name="Cancel").click()
        wait_for_state(page, "cancelled")
        assert len(again.http.get("/api/v1/jobs").json()["jobs"]) == 1


def test_the_token_is_asked_for_and_kept_for_the_tab(tmp_path: Path, chromium: Any) -> None:
    with (
        running(tmp_path, "--token", TOKEN) as server,
        opened(chromium, url_of(server), errors="401 (Unauthorized)") as page,
    ):
        for token in ("wrong-token-of-the-test", TOKEN):
            page.get_by_label("Token of").fill(token)
            keep(page, "token")
            page.get_by_role("button", name="Continue").click()
        start(page, SHORT)
        wait_for_state(page, "done")
        page.get_by_role("button", name="Load video").click()
        wait_until(page, "document.getElementById('video').readyState >= 2")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download MP4").click()
        assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
        assert (TOKEN in page.url, page.evaluate("localStorage.length")) == (False, 0)
        page.reload()
        wait_for_state(page, "done")
        page.get_by_role("button", name="Forget token").click()
        page.get_by_label("Token of").wait_for()


def test_the_page_works_under_a_token_in_the_path(tmp_path: Path, chromium: Any) -> None:
    with running(tmp_path, "--token", TOKEN, "--token-in-path") as server:
        for address in (f"/t/{TOKEN}/", f"/t/{TOKEN}"):
            with opened(chromium, f"{url_of(server)}{address}") as page:
                start(page, SHORT)
                wait_for_state(page, "done")
                wait_until(page, "document.getElementById('video').readyState >= 2")
