"""The containers' description agrees with the program that it starts."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from house import REPOSITORY
from test_documented import commands

from commons.settings import Settings

Service = dict[str, Any]


def services() -> dict[str, Service]:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    found: dict[str, Service] = yaml.safe_load(text)["services"]
    return found


def ours() -> dict[str, Service]:
    return {name: service for name, service in services().items() if "build" in service}


def dockerfile() -> str:
    return (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def test_what_was_asked_for_is_there() -> None:
    assert {"postgis", "meilisearch", "migrate", "api", "worker"} == set(services())


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_is_watched_or_comes_to_its_end(name: str) -> None:
    service = services()[name]
    waited_for = [
        other.get("depends_on", {}).get(name, {}).get("condition") for other in services().values()
    ]
    if service.get("healthcheck", {}).get("disable"):
        assert "service_completed_successfully" in waited_for
        assert service["restart"] == "no"
    else:
        checked_by_image = "build" in service and "HEALTHCHECK" in dockerfile()
        assert "test" in service.get("healthcheck", {}) or checked_by_image


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in services().values()]
    images += re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+[.-]\d+", image)] == []


def test_every_variable_is_a_setting() -> None:
    prefix = str(Settings.model_config["env_prefix"])
    settings = {prefix + name.upper() for name in Settings.model_fields}
    given = {name for service in ours().values() for name in service["environment"]}
    given |= set(re.findall(rf"\b{prefix}[A-Z_]+(?==)", dockerfile()))
    assert given
    assert given - settings == set()


def test_every_port_is_open_on_the_loopback_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_volume_is_kept_by_name() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    mounts = [mount for service in services().values() for mount in service.get("volumes", [])]
    assert {mount.split(":")[0] for mount in mounts} == set(yaml.safe_load(text)["volumes"])


def image_command() -> list[str]:
    started = re.search(r"^CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    assert started is not None
    command: list[str] = yaml.safe_load(started.group(1))
    return command


@pytest.mark.parametrize("started", [image_command(), *(s["command"] for s in ours().values())])
def test_the_command_exists_and_knows_its_options(started: list[str]) -> None:
    command, *arguments = started
    commands()[command].make_context(command, arguments)  # raises UsageError otherwise


def test_the_worker_is_healthy_only_with_its_database(tmp_path: Path) -> None:
    kind, python, *arguments = ours()["worker"]["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python"), shlex.join(arguments)
    urls = {f"sqlite:///{tmp_path}/there.sqlite": 0, f"sqlite:///{tmp_path}/not/there.sqlite": 1}
    for url, code in urls.items():
        here = {**os.environ, "LOCALPAY_DATABASE_URL": url, "PYTHONPATH": str(REPOSITORY)}
        result = subprocess.run(
            [sys.executable, *arguments], env=here, capture_output=True, text=True, check=False
        )
        assert result.returncode == code, result.stderr


def test_only_what_the_image_needs_goes_to_the_builder() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile(), re.MULTILINE)
    assert "*" in ignore
    assert kept == {name for line in copied for name in line.split()}
