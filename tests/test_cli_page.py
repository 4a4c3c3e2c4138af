"""The page of a schedule in a real browser: what it draws, tells and does when it is used."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from simulator import Machine

import pyrevolve
from pyrevolve.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
    pytest.mark.processes,
]

#: Colours of Okabe & Ito.
BLUE, VERMILLION, GREEN, PURPLE, SKY = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
)


class Browser:
    """A headless browser, told what to do through the pipes of the DevTools protocol."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4.
        script = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
        script += "os.execv(sys.argv[3], sys.argv[3:])"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        flags += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(to_browser), str(from_browser), str(CHROMIUM), *flags],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.messages: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.messages.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser has gone"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Open a page, and wait until it has drawn."""
        self.messages.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && window.pyrevolve && window.pyrevolve.picture.style")

    def js(self, expression: str) -> Any:
        """Return what an expression of JavaScript is."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a condition is met; it fails where that takes implausibly long."""
        for _ in range(3000):
            if self.js(f"Boolean({condition})"):
                return
            time.sleep(0.01)
        pytest.fail(f"never came true: {condition}")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def press(self, key: str, modifiers: int = 0) -> None:
        codes = {" ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        common = {"key": key, "windowsVirtualKeyCode": codes[key], "modifiers": modifiers}
        text = {"text": key} if key == " " else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        """Return the pixels of the window, shape (height, width, 3)."""
        from PIL import Image

        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages of a few schedules by name."""
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for name, arguments in {
        "revolve": "revolve 100 -s 5",
        "windowed": "revolve 61 -s 3 --window 4 --lookback 2 --initial-state free",
        "multistage": "multistage 60 -s 2 --on-disk 3 --forward-step 2ms",
        "mixed": "mixed 30 -s 4",
        "cams": "cams 40 --units 12 --stages 2 --stiffly-accurate",
        "long": "revolve 4000 -s 25 --window 2 --lookback 1",
    }.items():
        made[name] = folder / f"{name}.html"
        assert main(["show", *arguments.split(), "-o", str(made[name])]) == 0
    return made


SCHEDULES = {
    "revolve": (pyrevolve.Revolve(100, 5), {}),
    "windowed": (pyrevolve.Revolve(61, 3, window=4, lookback=2, initial_state="free"), {}),
    "multistage": (
        pyrevolve.Multistage(
            60, 2, 3, costs=pyrevolve.Costs(forward_step=1, reverse_step=1, save=(0.5, 12), load=(0.5, 8))
        ),
        {},
    ),
    "mixed": (pyrevolve.Mixed(30, 4), {}),
    "cams": (
        pyrevolve.CAMS(40, 12, 2, stiffly_accurate=True),
        {"step_data_units": 2, "step_data_carries_next_state": True},
    ),
}


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_the_page_follows_the_run_as_the_simulator_does(browser, pages, name):
    schedule, options = SCHEDULES[name]
    tiers = [1000] * len(schedule.counts.tiers)
    window, lookback, lag = schedule.needs
    machine = Machine(
        schedule.n_timesteps, tiers, window, lookback, lag, schedule.free_initial_state, **options
    )
    expected = []
    for instruction in schedule:
        machine.execute(instruction)
        low, high = max(0, machine.oldest), min(machine.newest, schedule.n_timesteps - 1)
        expected.append(
            [
                instruction.kind.name,
                machine.position,
                [low, high] if low <= high else None,
                machine.reversed_down_to,
                sorted(
                    [tier, slot, held[1]]
                    for tier, t in enumerate(machine.tiers)
                    for slot, held in t.slots.items()
                ),
            ]
        )
    browser.open(pages[name])
    found = browser.js(
        """(() => {
          const { schedule } = window.pyrevolve, found = [];
          for (let i = 0; i < schedule.length; i++) found.push([
            schedule.describe(i).split(/[ :]/)[0],
            Number.isNaN(schedule.position[i]) ? null : schedule.position[i],
            schedule.retained(i), schedule.reversedTo[i],
            schedule.stored(i).map((s) => [s.tier, s.slot, s.t]).sort((a, b) => a[0] - b[0] || a[1] - b[1]),
          ]);
          return found;
        })()"""
    )
    assert found == expected


def test_the_page_predicts_the_time_that_the_schedule_predicts(browser, pages):
    costs = pyrevolve.Costs(
        forward_step=2e-3,
        reverse_step=3e-3,
        forward_call=4e-5,
        reverse_call=4e-5,
        save=(1e-3, 24e-3),
        load=(1e-3, 16e-3),
    )
    browser.open(pages["multistage"])
    assert browser.js("window.pyrevolve.schedule.total('time')") == pytest.approx(
        pyrevolve.Multistage(60, 2, 3, costs=costs).makespan(costs)
    )


def test_the_page_loads_nothing_and_no_script_fails(browser, pages):
    for path in pages.values():
        browser.open(path)
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text
        assert "https://" not in text
        asked = [
            m["params"]["request"]["url"]
            for m in browser.messages
            if m.get("method") == "Network.requestWillBeSent"
        ]
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        assert [m for m in browser.messages if m.get("method") in bad] == []
        assert browser.js("document.getElementById('message').hidden")


def place(browser: Browser, canvas: str, value: float, t: float) -> tuple[float, float]:
    """Return where in the window an execution time and a timestep (or a number of snapshots) are."""
    down = f"picture.y({t})" if canvas == "timesteps" else f"picture.heldY({t})"
    x, y = browser.js(
        f"""(() => {{
          const {{ picture }} = window.pyrevolve;
          const box = document.getElementById("{canvas}").getBoundingClientRect();
          return [box.left + picture.x({value}), box.top + {down}];
        }})()"""
    )
    return x, y


def near(pixels: np.ndarray, where: tuple[float, float], color: tuple[int, ...], reach: int = 2) -> bool:
    """Return whether a pixel close to a place has nearly this colour."""
    x, y = (round(v) for v in where)
    box = pixels[y - reach : y + reach + 1, x - reach : x + reach + 1]
    return bool((np.abs(box - np.array(color)).max(axis=2) <= 40).any())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1280, 900), (420, 900)])
def test_lines_are_drawn_where_the_run_is(browser, pages, dark, size):
    browser.open(pages["multistage"], *size, dark=dark)
    pixels = browser.screenshot()
    paper = (20, 23, 27) if dark else (255, 255, 255)
    assert np.abs(pixels[3, 3] - np.array(paper)).max() <= 2
    costs = pyrevolve.Costs(
        forward_step=2e-3,
        reverse_step=3e-3,
        forward_call=4e-5,
        reverse_call=4e-5,
        save=(1e-3, 24e-3),
        load=(1e-3, 16e-3),
    )
    schedule = pyrevolve.Multistage(60, 2, 3, costs=costs)
    clock, first_sweep, turned = 0.0, True, False
    for i in schedule:
        name = i.kind.name
        if name == "FORWARD":
            seconds = costs.forward_call + costs.forward_step * (i.stop - i.start)
            if first_sweep and i.stop - i.start >= 5:
                middle = place(browser, "timesteps", clock + seconds / 2, (i.start + i.stop) / 2)
                assert near(pixels, middle, SKY if dark else BLUE)
        elif name == "REVERSE":
            seconds = costs.reverse_call + costs.reverse_step * (i.stop - i.start)
            if not turned:
                # Before it is reversed, the run of the same timestep is beside it.
                assert near(
                    pixels, place(browser, "timesteps", clock + seconds / 2, i.start + 0.5), VERMILLION, 3
                )
                turned = True
        elif name == "SAVE":
            seconds = costs.save_at(i.tier)
            if first_sweep:
                stored = place(browser, "timesteps", clock + seconds / 2, i.t)
                assert near(pixels, stored, PURPLE if i.tier else GREEN)
        else:
            seconds = costs.load_at(i.tier) if name == "LOAD" else 0.0
            first_sweep = first_sweep and name != "TURN"
        clock += seconds
    assert turned
    # Nothing is drawn where nothing is: above the run, before the turn.
    empty = place(browser, "timesteps", 0.3 * clock / 6, 55)
    assert not any(near(pixels, empty, color) for color in (BLUE, SKY, VERMILLION, GREEN, PURPLE))


@pytest.mark.parametrize("by", ["time", "instruction"])
def test_hovering_tells_the_instruction_and_the_snapshot_under_the_mouse(browser, pages, by):
    browser.open(pages["revolve"])
    browser.js(
        f"""(() => {{
          const by = document.getElementById("by");
          by.value = "{by}";
          by.dispatchEvent(new Event("change"));
        }})()"""
    )
    schedule = list(pyrevolve.Revolve(100, 5))
    costs = {"FORWARD": 0.02, "REVERSE": 0.02, "SAVE": 0.5, "LOAD": 0.5}
    begin = 0.0
    checked = 0
    for number, i in enumerate(schedule):
        name = i.kind.name
        took = 1.0
        if by == "time":
            steps = {"FORWARD": 1.0, "REVERSE": 1.5}.get(name, 0.0) * ((i.stop or 0) - (i.start or 0))
            took = costs.get(name, 0.0) + steps
        if took > 0.4 and number % 7 == 0:
            t = i.t if i.t is not None else (i.start or 0)
            browser.mouse("mouseMoved", *place(browser, "timesteps", begin + took / 2, t))
            said = browser.js("document.getElementById('tooltip').innerText")
            assert said.startswith(name)
            assert f"instruction {number + 1} of {len(schedule)}" in said
            if i.start is not None:
                ends = (i.start, i.stop) if name == "FORWARD" else (i.stop, i.start)
                assert f"{ends[0]} → {ends[1]}" in said
            elif i.t is not None:
                assert f"state {i.t} " in said
            checked += 1
        begin += took
    assert checked > 20
    # x_36 is stored by the third instruction.
    last = max(n for n, i in enumerate(schedule) if i.kind.name in ("LOAD", "FREE") and i.t == 36)
    loads = sum(i.kind.name == "LOAD" and i.t == 36 for i in schedule)
    browser.mouse("mouseMoved", *place(browser, "timesteps", 150.0, 36))
    said = " ".join(browser.js("document.getElementById('tooltip').innerText").split())
    assert f"Snapshot of state 36 in RAM, slot 1: stored by instruction 3, loaded {loads} times, " in said
    assert f"dropped by instruction {last + 1}" in said
    browser.mouse("mouseMoved", 5, 5)
    assert browser.js("document.getElementById('tooltip').hidden")


def test_playing_goes_on_to_the_end_and_pauses_where_it_is_told(browser, pages):
    browser.open(pages["revolve"])
    length = len(list(pyrevolve.Revolve(100, 5)))
    current = "window.pyrevolve.player.current"
    assert browser.js(current) == length - 1
    button = "document.getElementById('play').getBoundingClientRect()"
    x, y = browser.js(f"[{button}.left + {button}.width / 2, {button}.top + {button}.height / 2]")
    browser.click(x, y)
    assert browser.js("document.getElementById('play').textContent") == "Pause"
    browser.wait(f"20 < {current} && {current} < {length - 1}")
    browser.click(x, y)
    assert browser.js("document.getElementById('play').textContent") == "Play"
    stopped = browser.js(current)
    pixels = browser.screenshot()
    assert browser.js(current) == stopped
    assert int(browser.js("document.getElementById('slider').value")) == stopped
    # What is still to come is faint: the end of the last snapshot x_0 is not green any more.
    total = browser.js("window.pyrevolve.schedule.total('time')")
    assert near(pixels, place(browser, "timesteps", total * 0.01, 0), GREEN)
    assert not near(pixels, place(browser, "timesteps", total * 0.6, 0), GREEN)
    # Near the end it plays to the end, and stops by itself.
    browser.js(f"window.pyrevolve.player.go({length - 8})")
    browser.click(x, y)
    browser.wait("!window.pyrevolve.player.playing")
    assert browser.js(current) == length - 1
    assert browser.js("document.getElementById('play').textContent") == "Play"
    assert near(browser.screenshot(), place(browser, "timesteps", total * 0.6, 0), GREEN)


def test_keys_step_and_what_is_told_follows(browser, pages):
    browser.open(pages["revolve"])
    schedule = list(pyrevolve.Revolve(100, 5))
    current, told = "window.pyrevolve.player.current", "document.getElementById('instruction').textContent"
    browser.press("Home")
    assert browser.js(current) == 0
    for number in range(1, 6):
        browser.press("ArrowRight")
        assert browser.js(current) == number
        assert browser.js(told).startswith(f"{number + 1} of {len(schedule)} · {schedule[number].kind.name} ")
    browser.press("ArrowRight", modifiers=8)
    assert browser.js(current) == 15
    browser.press("ArrowLeft")
    assert browser.js(current) == 14
    browser.press("End")
    assert browser.js(current) == len(schedule) - 1
    browser.press(" ")
    assert browser.js("window.pyrevolve.player.playing")
    browser.press(" ")
    assert not browser.js("window.pyrevolve.player.playing")


def test_dragging_looks_closer_and_a_click_goes_there(browser, pages):
    browser.open(pages["long"])
    total = browser.js("window.pyrevolve.schedule.total('time')")
    start, end = (place(browser, "timesteps", share * total, 1000) for share in (0.4, 0.45))
    browser.mouse("mouseMoved", *start)
    browser.mouse("mousePressed", *start, button="left", clickCount=1)
    for share in (0.3, 0.7, 1.0):
        browser.mouse("mouseMoved", start[0] + share * (end[0] - start[0]), end[1], button="left", buttons=1)
    browser.mouse("mouseReleased", *end, button="left", clickCount=1)
    left, right = browser.js("window.pyrevolve.picture.view")
    pixel = total / 500
    assert abs(left - 0.4 * total) < pixel
    assert abs(right - 0.45 * total) < pixel
    browser.click(
        *place(browser, "timesteps", 0.42 * total, browser.js("window.pyrevolve.picture.bottom") + 1)
    )
    ends = browser.js("Array.from(window.pyrevolve.schedule.ends.time)")
    assert (
        abs(ends[browser.js("window.pyrevolve.player.current")] - 0.42 * total)
        < 2 * (right - left) / 500 + 10
    )
    browser.js("document.getElementById('zoom-all').click()")
    assert browser.js("window.pyrevolve.picture.view") == [0, total]


def test_nothing_is_wider_than_the_window_and_controls_have_names(browser, pages):
    for width in (320, 768, 1920):
        browser.open(pages["cams"], width, 800)
        assert browser.js("document.documentElement.scrollWidth") <= width
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    for node in tree:
        if node.get("role", {}).get("value") in ("button", "slider", "combobox", "image", "img"):
            assert node.get("name", {}).get("value"), node


def test_the_theme_can_be_chosen(browser, pages):
    browser.open(pages["revolve"])
    light = browser.screenshot()[3, 3].tolist()
    for _ in range(2):
        browser.js("document.getElementById('theme').click()")
    dark = browser.screenshot()
    assert light == [255, 255, 255]
    assert dark[3, 3].tolist() == [20, 23, 27]
    assert near(dark, place(browser, "timesteps", 18.0, 18), SKY)
