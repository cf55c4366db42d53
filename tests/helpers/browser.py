"""Chromium without a window, for tests of pages."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from axe_core_python.selenium import Axe
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from pathlib import Path

_BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
_RECORD_ALERTS = "window.alerts = []; window.alert = (text) => window.alerts.push(text);"


def installed() -> tuple[str, str] | None:
    """Paths of browser and driver, both from ``PATH``; None unless both are there."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """A browser that reaches no network, and notes what pages ask for and log."""

    def __init__(self, browser: str, driver: str) -> None:
        options = ChromeOptions()
        options.binary_location = browser
        switches = ["headless=new", "disable-gpu", "disable-dev-shm-usage", "no-first-run"]
        switches += ["disable-background-networking", "host-resolver-rules=MAP * ~NOTFOUND"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            switches.append("no-sandbox")  # which Chromium cannot have as root
        for switch in switches:
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With both paths given, Selenium looks for neither, on this machine or elsewhere.
        self.driver = Chrome(options=options, service=Service(executable_path=driver))
        self.command("Page.addScriptToEvaluateOnNewDocument", source=_RECORD_ALERTS)

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a command of Chrome's DevTools."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
        """Load a page anew in a window of a width, for people who like light or dark colors."""
        self.command("Emulation.setScriptExecutionDisabled", value=False)
        self.resize(width)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri())

    def resize(self, width: int) -> None:
        """Give the page a width; windows themselves may not be narrow."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript, which may return a value."""
        return self.driver.execute_script(script, *arguments)

    def logged(self) -> list[str]:
        """Messages in the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """Addresses that were asked for since the page was opened, their first 80 characters."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return [
            event["message"]["params"]["request"]["url"][:80]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        ]

    def printed(self) -> bytes:
        """The page as PDF."""
        return b64decode(self.command("Page.printToPDF", preferCSSPageSize=True)["data"])

    def violations(self, *tags: str) -> list[str]:
        """What axe-core finds wrong by its rules of some tags, one line for each element."""
        found = Axe().run(self.driver, options={"runOnly": list(tags)})
        assert found["passes"]
        undecided = [rule for rule in found["incomplete"] if rule["id"] == "color-contrast"]
        return [
            f"{rule['id']}: {node['target']} {node['html'][:120]} "
            + "; ".join(check["message"] for check in (*node["any"], *node["all"], *node["none"]))
            for rule in (*found["violations"], *undecided)
            for node in rule["nodes"]
        ]
