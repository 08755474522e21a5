"""Every part of ours is free of axe's violations, in the light and in the dark theme."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .lab import Lab
from .view import View

STYLE = Path(__file__).parents[2] / "labextension" / "style"
THEMES = ["JupyterLab Light", "JupyterLab Dark"]


@pytest.mark.parametrize("theme", THEMES)
def test_panel_button_and_status_bar(view: View, lab: Lab, theme: str) -> None:
    lab.notebook("axe.ipynb", ["1"])
    view.theme(theme)
    panel = view.panel()
    view.open_notebook("axe.ipynb")
    expect(panel.get_by_role("meter", name="CPU")).to_be_visible()
    for selector in ("#jp-cloudml-panel", ".jp-cloudml-machine-button", ".jp-cloudml-status"):
        assert view.axe(selector) == []


@pytest.mark.parametrize("theme", THEMES)
def test_picker_and_its_question(view: View, lab: Lab, theme: str) -> None:
    lab.notebook("axe2.ipynb", ["1"], kernel="python3")
    view.theme(theme)
    view.open_notebook("axe2.ipynb")
    view.machine_button.click()
    assert view.axe(".jp-cloudml-dialog") == []
    view.page.keyboard.press("Enter")
    expect(view.page.get_by_role("button", name="Move", exact=True)).to_be_visible()
    assert view.axe(".jp-Dialog") == []
    view.page.keyboard.press("Escape")


@pytest.mark.parametrize("theme", THEMES)
def test_add_form_empty_and_refused(view: View, theme: str) -> None:
    view.theme(theme)
    view.command("cloudml:add-machine")
    page = view.page.locator(".jp-cloudml-page")
    expect(page.get_by_label("Host")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    assert view.axe(".jp-cloudml-page") == []
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Fill in this field.").first).to_be_visible()
    assert view.axe(".jp-cloudml-page") == []
    view.command("application:close")


@pytest.mark.parametrize("theme", THEMES)
def test_check_page(view: View, theme: str) -> None:
    view.theme(theme)
    view.command("cloudml:check-machine", {"name": "local"})
    expect(view.page.get_by_text("Everything works.")).to_be_visible(timeout=60_000)
    assert view.axe(".jp-cloudml-page") == []
    view.command("application:close")


def test_axe_does_find_violations(view: View) -> None:
    view.panel()
    expect(view.row("local")).to_be_visible()
    view.page.evaluate(
        "() => document.querySelector('.jp-cloudml-rows').removeAttribute('aria-label') || "
        "document.querySelector('.jp-cloudml-icon-button').removeAttribute('aria-label') || "
        "document.querySelector('.jp-cloudml-icon-button').removeAttribute('title')"
    )
    assert [found["id"] for found in view.axe("#jp-cloudml-panel")] == ["button-name"]


def test_styles_take_every_colour_from_the_theme() -> None:
    literal = re.compile(
        r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl)a?\(|:\s*(?:white|black|red|green|blue)\b"
    )
    for sheet in STYLE.glob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)
        assert literal.findall(text) == [], sheet.name
