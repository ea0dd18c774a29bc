"""The container files, read as text: what they name exists, ports and settings agree with the code, nobody is root."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from curator.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PORT = Settings.model_fields["port"].default
PROFILES = {"winnow": [], "postgres": ["postgres"], "ray-head": ["ray"], "ray-worker": ["ray"]}
SERVICE_KEYS = {
    "image", "build", "restart", "init", "cap_drop", "security_opt", "shm_size", "volumes", "command", "environment",
    "ports", "env_file", "stop_grace_period", "depends_on", "profiles", "healthcheck",
}  # fmt: skip


def settings_named(text: str) -> set[str]:
    return set(re.findall(r"\bWINNOW_[A-Z_]+\b", text))


DEVELOPING, BELOW_CLUSTER = {"dev", "demo", "bench"}, {"server", "train"}
"""Extras that `all` does not name: for work on Winnow itself, and those that `cluster` brings."""

KNOWN = {f"WINNOW_{name.upper()}" for name in Settings.model_fields} - {"WINNOW_RAY_ADDRESS"}
"""Ray's own variable says where Ray is."""


def test_services_and_their_profiles() -> None:
    assert {name: service.get("profiles", []) for name, service in SERVICES.items()} == PROFILES
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name


def test_every_volume_and_dependency_is_declared() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for needed, how in service.get("depends_on", {}).items():
            assert "healthcheck" in SERVICES[needed]
            assert how["condition"] == "service_healthy"
            optional = bool(PROFILES[needed]) and PROFILES[needed] != service.get("profiles")
            assert how.get("required", True) is not optional


def test_images_are_pinned_and_ours_is_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in images:
        name, _, tag = image.partition(":")
        assert re.match(r"\d+\.\d+", tag), image
        assert "latest" not in tag
        if name == "winnow":
            assert tag == version


@pytest.mark.parametrize("name", ["winnow", "ray-head", "ray-worker"])
def test_our_services_are_built_here_and_may_do_little(name: str) -> None:
    service = SERVICES[name]
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).is_file()
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "user" not in service


def test_every_setting_named_is_one() -> None:
    for path in (DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", DEPLOY / "README.md", DEPLOY / "start.sh"):
        clients = {"WINNOW_URL", "WINNOW_API_KEY"}
        assert settings_named(path.read_text()) <= KNOWN | clients, path


def test_settings_the_compose_file_does_not_name_come_from_a_file() -> None:
    for name in ("winnow", "ray-head", "ray-worker"):
        assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_kernels_are_compiled_into_the_image_where_a_container_looks_for_them() -> None:
    _, build, last = DOCKERFILE.split("\nFROM ")
    [kernels] = re.findall(r"NUMBA_CACHE_DIR=(\S+)", last)
    assert f"NUMBA_CACHE_DIR={kernels} /opt/winnow/bin/winnow curate" in build
    assert f"COPY --from=build --chown=10001:10001 {kernels} {kernels}" in last


def test_settings_in_the_image_and_the_service_are_lawful() -> None:
    in_image = dict(re.findall(r"\b((?:WINNOW|RAY)_[A-Z_]+)=(\S+)", DOCKERFILE))
    assert in_image["WINNOW_PORT"] == str(PORT)
    in_service = {name: value for name, value in SERVICES["winnow"]["environment"].items() if "${" not in str(value)}
    for environ in (in_image, in_service):
        lawful = {name: value for name, value in environ.items() if name.startswith("WINNOW_")}
        lawful.setdefault("WINNOW_ROOT", "/data")  # as the compose file says when nothing else does
        settings = Settings.from_environment(lawful)
        assert (settings.root, settings.host, settings.port) == ("/data", "0.0.0.0", PORT)


def test_variables_left_empty_mean_the_defaults() -> None:
    wanted = SERVICES["winnow"]["environment"]
    empty = {name: "" for name, value in wanted.items() if re.fullmatch(r"\$\{[A-Z_]+:-\}", str(value))}
    theirs = {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert set(empty) == {"WINNOW_DATABASE_URL", "WINNOW_ALLOWED_HOSTS", *theirs}
    assert wanted["WINNOW_ROOT"] == "${WINNOW_ROOT:-/data}"
    settings = Settings.from_environment(empty)
    assert settings.database_url.startswith("sqlite:")
    assert (settings.ray_address, settings.otlp_endpoint) == (None, "")


def test_ports_agree_with_the_default_and_stay_on_this_machine() -> None:
    assert SERVICES["winnow"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["winnow"]
    assert f"EXPOSE {PORT}" in DOCKERFILE
    assert f"http://127.0.0.1:{PORT}/healthz/live" in DOCKERFILE


def test_the_health_check_asks_a_route_that_is_there() -> None:
    from api.routes import system

    assert "/healthz/live" in {route.path for route in system.routes.routes}


def test_ray_is_never_without_a_token() -> None:
    for name in ("winnow", "ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"] == "${RAY_AUTH_TOKEN:-}"


def test_the_grace_of_a_container_is_longer_than_the_runners() -> None:
    seconds = int(SERVICES["winnow"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.model_fields["grace_s"].default


def test_the_image_ends_as_nobody_in_particular() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    [user] = re.findall(r"^USER (\S+)", last, re.MULTILINE)
    assert user == "10001:10001"
    assert "useradd --uid 10001" in last
    after = last[last.index("USER ") :]
    assert not re.search(r"^(RUN|COPY|ADD) ", after, re.MULTILINE)
    assert "HEALTHCHECK" in after
    assert 'ENTRYPOINT ["start"]' in after


def test_the_image_has_two_stages_and_the_last_one_builds_nothing() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert "-slim" in stages[1].splitlines()[0]
    assert "pip install" not in stages[1]


def test_what_is_copied_exists_and_passes_the_ignore_file() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == kept
    for source in copied:
        assert (ROOT / source).exists(), source


def test_versions_and_extras_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    [torch] = [need for need in extras["train"] if need.startswith("torch")]
    assert f'"{torch}"' in DOCKERFILE
    [installed] = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert set(installed.split(",")) == {"cluster", "otel", "oidc", "s3"}  # what a setting may ask for
    [everything] = re.findall(r"\[([\w,]+)\]", extras["all"][0])
    assert {*everything.split(","), "all"} == set(extras) - DEVELOPING - BELOW_CLUSTER
    python = re.search(r"FROM python:(\d+)\.(\d+)", DOCKERFILE)
    assert python is not None
    assert (int(python[1]), int(python[2])) >= (3, 11)


def test_every_variable_is_explained_and_every_explained_one_is_used() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", (DEPLOY / "README.md").read_text(), re.MULTILINE))
    assert used == explained


def test_the_readme_speaks_of_things_that_are_there() -> None:
    text = (DEPLOY / "README.md").read_text()
    assert set(re.findall(r"--profile (\S+)", text)) == {"postgres", "ray"}
    assert set(re.findall(r"--scale (\S+)=", text)) <= set(SERVICES)
    for name in re.findall(r"`([a-z]+\.(?:sh|yaml|db))`", text):
        assert name == "winnow.db" or (DEPLOY / name).is_file()
