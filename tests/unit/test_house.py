"""The house is in order: versions agree, imports keep to their rooms, the wheel holds what it needs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import jupyter_cloudml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ["jupyter_cloudml", "kernels", "server_ext", "benchmarks", "tools"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LABEXTENSION = json.loads((ROOT / "labextension" / "package.json").read_text())

# The first releases without the hole named: an older one must not be let in.
FIXED_IN = {
    "jupyter-server": "2.18",  # CVE-2026-35397, contents outside the root folder
    "jupyterlab": "4.5.7",  # CVE-2026-42557, commands run from an output
}


def requirements() -> Iterator[Requirement]:
    """Yield every requirement of the package and of its extras."""
    for line in PROJECT["dependencies"]:
        yield Requirement(line)
    for lines in PROJECT["optional-dependencies"].values():
        yield from map(Requirement, lines)


def modules(*folders: str) -> list[Path]:
    """List the Python files below some folders of the repository."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"no module below {folders}"
    return [path for path in found if "semgrep_samples" not in path.parts]


class Import(NamedTuple):
    """One absolute import and where it stands."""

    path: str
    line: int
    name: str


def imports(*folders: str) -> Iterator[Import]:
    """Yield every absolute import in the modules below some folders."""
    for path in modules(*folders):
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(where, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield Import(where, node.lineno, node.module or "")


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == LABEXTENSION["version"] == jupyter_cloudml.__version__


@pytest.mark.parametrize("name", FIXED_IN)
def test_no_release_with_a_known_hole_is_accepted(name: str) -> None:
    asked = [requirement for requirement in requirements() if requirement.name == name]
    assert asked
    for requirement in asked:
        lower = [s.version for s in requirement.specifier if s.operator in (">=", ">", "==", "~=")]
        assert lower, f"{requirement} has no lower bound"
        assert max(map(Version, lower)) >= Version(FIXED_IN[name])


def test_nothing_imports_the_tests_or_a_folder_of_the_repository() -> None:
    banned = {"tests", "kernels", "server_ext", "labextension", "cloudbox"}
    found = [where for where in imports(*PRODUCT) if where.name.split(".")[0] in banned]
    assert found == []


def test_the_agent_needs_the_standard_library_alone() -> None:
    allowed = sys.stdlib_module_names | {"jupyter_cloudml"}
    found = [w for w in imports("jupyter_cloudml/agent") if w.name.split(".")[0] not in allowed]
    assert found == []
    own = [w for w in imports("jupyter_cloudml/agent") if w.name.startswith("jupyter_cloudml")]
    assert [w for w in own if not w.name.startswith("jupyter_cloudml.agent")] == []


def test_the_agent_parses_on_the_oldest_python_it_promises() -> None:
    for path in modules("jupyter_cloudml/agent"):
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 9))


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text())
    assert lock["packages"][""]["version"] == PROJECT["version"]
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []


def test_the_fixed_entry_points_lead_to_classes() -> None:
    found = {
        (point.group, point.name): point.load()
        for point in distribution("jupyter-cloudml").entry_points
    }
    assert {
        ("jupyter_client.kernel_provisioners", "cloudml"),
        ("jupyter_cloudml.providers", "local"),
        ("jupyter_cloudml.providers", "ssh"),
        ("console_scripts", "jupyter-cloudml"),
    } <= set(found)


def test_every_verb_of_make_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert {"lab", "test"} <= named <= targets


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Build the sdist and the wheel, and list what is in each, by kind."""
    assets = ROOT / "jupyter_cloudml" / "labextension" / "package.json"
    assert assets.exists(), "the Lab assets are not built: make assets"
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel"]
    done = subprocess.run(
        [*command, "--outdir", str(out), str(ROOT)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
        return {"wheel": set(archive.namelist()), "sdist": inside}


def test_the_wheel_holds_everything_that_runs(archives: dict[str, set[str]]) -> None:
    wheel = archives["wheel"]
    info = f"jupyter_cloudml-{PROJECT['version']}.dist-info"
    data = f"jupyter_cloudml-{PROJECT['version']}.data/data"
    expected = {
        f"{info}/licenses/LICENSE",
        f"{data}/etc/jupyter/jupyter_server_config.d/jupyter_cloudml.json",
        f"{data}/share/jupyter/kernels/cloudml-local/kernel.json",
        f"{data}/share/jupyter/labextensions/jupyter-cloudml/install.json",
        f"{data}/share/jupyter/labextensions/jupyter-cloudml/package.json",
    }
    for image in ("cpu", "dask", "gpu"):
        for file in ("environment.toml", "requirements.lock", "Dockerfile"):
            expected.add(f"jupyter_cloudml/environments/images/{image}/{file}")
    prefixes = ("jupyter_cloudml/", "kernels/", "server_ext/")
    tracked = subprocess.run(
        ["git", "ls-files", "--", *prefixes], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        package = re.sub(r"^(kernels|server_ext)/", "", name)
        if package.startswith(
            ("jupyter_cloudml/", "jupyter_cloudml_kernels/", "jupyter_cloudml_server/")
        ):
            expected.add(package)
    assert expected - wheel == set()
    assert {"jupyter_cloudml/py.typed", "jupyter_cloudml/agent/protocol.py"} <= wheel


def test_the_wheel_holds_nothing_else(archives: dict[str, set[str]]) -> None:
    tops = {name.split("/")[0] for name in archives["wheel"]}
    version = PROJECT["version"]
    assert tops == {
        "jupyter_cloudml",
        "jupyter_cloudml_kernels",
        "jupyter_cloudml_server",
        f"jupyter_cloudml-{version}.data",
        f"jupyter_cloudml-{version}.dist-info",
    }
    assets = [name for name in archives["wheel"] if name.startswith("jupyter_cloudml/labextension")]
    assert assets == [], "the assets ship once, as shared data"


def test_the_sdist_installs_without_node(archives: dict[str, set[str]]) -> None:
    sdist = archives["sdist"]
    assert {"LICENSE", "pyproject.toml", "labextension/package-lock.json"} <= sdist
    assert "jupyter_cloudml/labextension/package.json" in sdist
    assert any(name.startswith("jupyter_cloudml/labextension/static/remoteEntry") for name in sdist)
    assert not any("/node_modules/" in name for name in sdist)
