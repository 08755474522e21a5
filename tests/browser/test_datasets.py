"""Data in the page: buckets looked into by keyboard, synced to a machine, its datasets kept, dropped and called off."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from buckets import Bucket
from faulty import Fault, proxy
from playwright.sync_api import Locator, expect

from benchmarks.s3 import S3

from .lab import Lab, wait_for
from .view import View

pytestmark = pytest.mark.timeout(240)
THEMES = ("JupyterLab Dark", "JupyterLab Light")


@pytest.fixture(scope="module")
def lab(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server whose user has the keys of the service."""
    server = Lab(tmp_path_factory.mktemp("lab"), environment=s3.environ())
    try:
        yield server.start()
    finally:
        server.close()


def browse(view: View, address: str) -> Locator:
    """Open an address in the section of buckets, and return the section."""
    view.command("cloudml:show-buckets")
    section = view.page.locator(".jp-cloudml-buckets")
    section.get_by_label("Bucket or prefix").fill(address)
    section.get_by_role("button", name="Open", exact=True).click()
    return section


def lines(section: Locator) -> list[str]:
    """The names that are in sight."""
    return section.locator("[role=treeitem] .jp-cloudml-tree-name").all_inner_texts()


def test_a_bucket_is_looked_into_by_keyboard_and_synced(view: View, lab: Lab, s3: S3) -> None:
    bucket = Bucket(s3, "wildlife")
    bucket.put(**{"images/cats/1.png": b"x" * 1200, "images/dogs/1.png": b"yy"})
    bucket.put(**{"labels.csv": b"name,label\n" * 400, "read me.txt": b"hello"})
    usual = f"data/{urlsplit(s3.hosts_url).netloc.replace(':', '_')}/{bucket.name}"
    lab.notebook("train.ipynb", ["1"])
    view.open_notebook("train.ipynb")
    section = browse(view, "s3://")
    tree = section.get_by_role("tree", name="Contents of Buckets")
    names = section.get_by_label("Filter the loaded names")
    names.fill(bucket.name)  # other tests have buckets there too, more than are in sight
    expect(tree.get_by_role("treeitem", name=bucket.name)).to_be_visible(timeout=30_000)
    names.fill("")

    section = browse(view, bucket.url())
    tree = section.get_by_role("tree", name=f"Contents of s3://{bucket.name}")
    expect(tree.get_by_role("treeitem")).to_have_count(3)
    assert lines(section) == ["images", "labels.csv", "read me.txt"]
    expect(tree.get_by_role("treeitem", name="labels.csv")).to_contain_text("4.4 kB")
    tree.focus()
    tree.press("ArrowRight")
    expect(tree.get_by_role("treeitem")).to_have_count(5)
    tree.press("ArrowRight")
    tree.press("ArrowRight")
    expect(tree.get_by_role("treeitem")).to_have_count(6)
    expect(
        tree.get_by_role("treeitem", name="1.png")
    ).to_be_visible()  # no line that says "loading"
    tree.press("ArrowRight")
    expect(tree.locator("[aria-selected=true]")).to_contain_text("1.png")
    tree.press("ArrowLeft")
    expect(tree.locator("[aria-selected=true]")).to_contain_text("cats")
    tree.press("ArrowLeft")
    expect(tree.get_by_role("treeitem", name="cats")).to_have_attribute("aria-expanded", "false")
    names.fill("LAB")
    expect(tree.get_by_role("treeitem")).to_have_count(1)
    tree.press("ArrowDown")
    tree.press("Enter")
    dialog = view.page.get_by_role("dialog", name="Sync to a machine")
    expect(dialog.get_by_label("From")).to_have_value(f"s3://{bucket.name}/labels.csv")
    expect(dialog.get_by_label("Folder there")).to_have_value(usual)
    dialog.get_by_role("button", name="Cancel").click()
    names.fill("")
    for theme in THEMES:
        view.theme(theme)
        assert view.axe(".jp-cloudml-buckets") == []

    tree.get_by_role("treeitem", name="images").click()
    section.get_by_role("button", name="Insert into the notebook: images").click()
    cell = view.page.locator(".jp-Notebook .jp-Cell .cm-content").last
    expect(cell).to_contain_text(f'path = dataset("s3://{bucket.name}/images")')

    tree.get_by_role("treeitem", name="images").click()
    section.get_by_role("button", name="Sync to a machine…: images").click()
    dialog = view.page.get_by_role("dialog", name="Sync to a machine")
    expect(dialog).to_contain_text("2 files · 1.2 kB")
    expect(dialog.get_by_label("Folder there")).to_have_value(f"{usual}/images")
    assert view.axe(".jp-Dialog") == []
    dialog.get_by_label("Folder there").fill("data/images")
    dialog.get_by_role("button", name="Sync").click()
    datasets = view.page.get_by_role("list", name="Datasets on This machine")
    expect(datasets).to_contain_text("2 files · 1.2 kB", timeout=60_000)
    there = lab.folder / "home/data/images"
    assert (there / "cats/1.png").read_bytes() == b"x" * 1200
    expect(view.page.get_by_text("2 files · 1.2 kB new")).to_be_visible()

    # What a synced folder has is known by its path there.
    tree.get_by_role("treeitem", name="cats").click(button="right")
    item = view.page.get_by_role("menuitem", name="Copy path on machine")
    expect(item).to_be_visible()
    expect(item).not_to_have_attribute("aria-disabled", "true")
    view.picture("data")
    view.page.keyboard.press("Escape")


def test_datasets_are_pinned_dropped_and_limited_and_a_sync_is_called_off(
    view: View, lab: Lab, bucket: Bucket, s3: S3
) -> None:
    bucket.put(**{"p/a": b"a" * 3000, "q/b": b"b", "q/big": os.urandom(8 << 20)})
    route, source = "machines/local/datasets", bucket.url("p")
    begun = lab.api("POST", route, {"source": source, "target": "data/p"})["operation"]["id"]
    wait_for(lambda: lab.api("GET", f"operations/{begun}")["state"] == "done", "the sync", 60)
    view.command("cloudml:show-datasets", {"name": "local"})
    datasets = view.page.get_by_role("list", name="Datasets on This machine")
    row = datasets.get_by_role("listitem").filter(has_text=source)
    expect(row).to_contain_text("1 file · 3.0 kB · synced", timeout=30_000)

    row.get_by_role("button", name=f"Keep {source} in the cache").click()
    expect(row).to_contain_text("pinned")
    expect(row.get_by_role("button", name=f"Drop {source} from")).to_have_count(0)
    row.get_by_role("button", name=f"Let the cache drop {source}").click()
    drop = row.get_by_role("button", name=f"Drop {source} from the cache")
    drop.click()
    view.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert lab.api("GET", route)["cache"]["used"] >= 3000
    drop.click()
    question = view.page.get_by_role("dialog", name=f"Drop {source} from the cache?")
    expect(question).to_contain_text("Files in folders stay")
    question.get_by_role("button", name="Drop").click()
    wait_for(lambda: lab.api("GET", route)["cache"]["used"] < 3000, "the cache")
    assert (lab.folder / "home/data/p/a").exists()

    section = view.page.locator(".jp-cloudml-section").filter(has=datasets)
    section.get_by_role("button", name="Change how much the cache").click()
    view.page.get_by_role("spinbutton").fill("2")
    view.page.get_by_role("button", name="Save").click()
    expect(section).to_contain_text("of 2.0 GB")

    held = threading.Event()
    with proxy(s3.url) as slow:
        slow.rule = lambda method, target: Fault(hold=held) if "/big?" in target else None
        # Somebody else begins it: an event tells this page.
        body = {"source": bucket.url("q"), "target": "data/q", "endpoint_url": slow.url}
        begun = lab.api("POST", route, body)["operation"]["id"]
        running = datasets.get_by_role("listitem").filter(has_text=bucket.url("q"))
        expect(running.get_by_role("status")).to_contain_text(
            re.compile(r"of 2 files, .* of 8.4 MB")
        )
        for theme in THEMES:
            view.theme(theme)
            assert view.axe("#jp-cloudml-panel") == []
        running.get_by_role("button", name=f"Cancel the sync of {bucket.url('q')}").click()
        held.set()
        expect(running.get_by_role("button", name="Cancel")).to_have_count(0)
        assert lab.api("GET", f"operations/{begun}")["state"] == "cancelled"
    lab.api("POST", route, {"source": "s3://no-such-bucket-here/x", "target": "data/x"})
    alert = datasets.get_by_role("alert")
    expect(alert).to_contain_text("There is no such bucket there.")
    datasets.get_by_role("button", name="Dismiss").click()
    expect(alert).to_have_count(0)


def test_many_names_come_page_by_page_and_failures_say_what_to_do(
    view: View, lab: Lab, bucket: Bucket
) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: bucket.write(f"many/{n:05}", b"x"), range(2500)))
    section = browse(view, bucket.url("many"))
    tree, status = section.get_by_role("tree"), section.get_by_role("status")
    expect(status).to_contain_text("1,000 names loaded, more follow", timeout=30_000)
    for count in ("2,000 names loaded, more follow", "2,500 names"):
        tree.evaluate("node => { node.scrollTop = node.scrollHeight; }")
        expect(status).to_contain_text(count)
    tree.press("End")
    expect(tree.locator("[aria-selected=true]")).to_contain_text("02499")
    assert tree.get_by_role("treeitem").count() < 100
    section.get_by_label("Filter the loaded names").fill("0249")
    expect(tree.get_by_role("treeitem")).to_have_count(11)

    # Where the user was is remembered, once Lab has saved it, which it does a moment later.
    saved = "fetch('/lab/api/workspaces').then(answer => answer.text())"
    wait_for(lambda: bucket.url("many") in view.page.evaluate(saved), "the workspace")
    view.reload()
    section = view.page.locator(".jp-cloudml-buckets")
    view.command("cloudml:show-buckets")
    expect(section.get_by_label("Bucket or prefix")).to_have_value(bucket.url("many"))

    browse(view, "s3://no-such-bucket-here")
    alert = section.get_by_role("alert")
    expect(alert).to_contain_text("There is no such bucket there.")
    expect(alert).to_contain_text("Look at its name")
    browse(view, "what is this")
    expect(section.get_by_text("Write it as s3://bucket/prefix")).to_be_visible()
    section.get_by_role("button", name="Profile, endpoint and region").click()
    section.get_by_label("Endpoint URL").fill("http://127.0.0.1:9")
    browse(view, bucket.url())
    expect(alert).to_contain_text("Look at the endpoint URL")
    section.get_by_label("Endpoint URL").fill("")
    section.get_by_label("Profile", exact=True).fill("nobody")
    browse(view, bucket.url())
    expect(alert).to_contain_text("Choose one that ~/.aws has.")
    for theme in THEMES:
        view.theme(theme)
        assert view.axe(".jp-cloudml-buckets") == []
