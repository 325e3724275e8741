"""Check that the files of deploy/ and the Dockerfile agree with the tree, the settings and each other.

kubernetes-validate has checked the manifest strictly against the schemas of Kubernetes 1.30 and 1.37. The tests do not
depend on it, because it has 17,000 files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.settings import SETTINGS, Settings

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MANIFEST = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text()))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CLOSE_S = 5  # that a service takes to end, besides draining; docs/operations.md


def kind(name: str) -> Any:
    (found,) = [each for each in MANIFEST if each["kind"] == name]
    return found


DEPLOYED, MIGRATION = kind("Deployment")["spec"], kind("Job")["spec"]
POD, JOB_POD = DEPLOYED["template"]["spec"], MIGRATION["template"]["spec"]
(CONTAINER,), (JOB_CONTAINER,) = POD["containers"], JOB_POD["containers"]


def settings_of(variables: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a process with these variables."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return Settings()


@pytest.mark.parametrize("file", ["Dockerfile", "deploy/compose.yaml", "deploy/kubernetes.yaml"])
def test_settings_that_are_named_exist(file: str) -> None:
    named = set(re.findall(r"\bDRAFTLINE_([A-Z_]+)\b", (ROOT / file).read_text()))
    assert named
    assert {f"DRAFTLINE_{name}" for name in named} <= SETTINGS.keys()


def commands() -> Iterator[list[str]]:
    yield from (shlex.split(SERVICES[name]["command"]) for name in ("migrate", "draftline"))
    yield from (CONTAINER["args"], JOB_CONTAINER["args"])
    yield from (CONTAINER[probe]["exec"]["command"][1:] for probe in ("startupProbe", "readinessProbe"))
    yield yaml.safe_load(re.findall(r"HEALTHCHECK .* CMD (\[.*\])", DOCKERFILE)[0])[1:]
    yield yaml.safe_load(re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)[0])


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_commands_are_those_of_the_command_line(command: list[str]) -> None:
    """With `--help`, all that stands before it is parsed, and nothing is run."""
    told = CliRunner().invoke(main, [*command, "--help"])
    assert told.exit_code == 0, told.output
    assert f"Usage: main {command[0]}" in told.output
    options = {option for each in main.commands[command[0]].params for option in each.opts}
    assert {word for word in command if word.startswith("-")} <= options


def test_compose_serves_what_it_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES["draftline"]
    settings = settings_of(service["environment"], monkeypatch)
    assert (settings.server.host, settings.metrics.host) == ("0.0.0.0", "0.0.0.0")
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (settings.server.port, settings.metrics.port)]
    assert float(service["stop_grace_period"].removesuffix("s")) >= settings.server.drain_timeout_s + CLOSE_S
    # Nobody is authenticated there, so nobody but this machine may get there.
    assert settings.server.dangerously_serve_unprotected


def test_compose_names_what_it_has() -> None:
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    for name in ("migrate", "draftline"):
        service = SERVICES[name]
        host = re.findall(r"@(\w+):5432/(\w+)", service["environment"]["DRAFTLINE_DATABASE_URL"])
        assert host == [("postgres", SERVICES["postgres"]["environment"]["POSTGRES_DB"])]
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], "/tmp")
    assert SERVICES["draftline"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["build"] == ".."


def test_pods_have_settings_that_go_together_and_the_files_that_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(kind("ConfigMap")["data"], monkeypatch)
    assert settings.auth.is_enabled
    assert not settings.server.dangerously_serve_unprotected
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounted.values()) == {volume["name"] for volume in POD["volumes"]}
    for path in (settings.tls.certificate_file, settings.tls.key_file):
        assert path is not None
        assert str(path.parent) in mounted
        assert path.name in ("tls.crt", "tls.key")  # as a secret of that type has them
    assert "/tmp" in mounted  # where the sockets of the workers' metrics are
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"grpc": settings.server.port, "metrics": settings.metrics.port}
    assert DEPLOYED["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(settings.metrics.port)
    assert [each["targetPort"] for each in kind("Service")["spec"]["ports"]] == ["grpc"]
    assert [each["port"] for each in kind("Service")["spec"]["ports"]] == [settings.server.port]


def test_pods_have_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(kind("ConfigMap")["data"], monkeypatch)
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] >= before + settings.server.drain_timeout_s + CLOSE_S


def test_pods_are_asked_by_health_whether_they_are_ready_and_restarted_for_themselves_alone() -> None:
    for probe in ("startupProbe", "readinessProbe"):
        command = CONTAINER[probe]["exec"]["command"]
        assert command[:2] == ["draftline", "health"]
        assert float(command[command.index("--timeout") + 1]) < CONTAINER[probe]["timeoutSeconds"]
    assert CONTAINER["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}


@pytest.mark.parametrize(("pod", "container"), [(POD, CONTAINER), (JOB_POD, JOB_CONTAINER)], ids=["service", "job"])
def test_pods_have_no_privileges_and_limits(pod: Any, container: Any) -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    assert int(user) > 0
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": int(user), "runAsGroup": int(group), "fsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["image"] == CONTAINER["image"]


def test_what_pods_and_objects_refer_to_is_there_or_told() -> None:
    told = set(
        re.findall(r"kubectl create secret (?:generic|tls) (\S+)", (ROOT / "deploy/kubernetes.yaml").read_text())
    )
    for pod, container in ((POD, CONTAINER), (JOB_POD, JOB_CONTAINER)):
        assert pod["serviceAccountName"] == kind("ServiceAccount")["metadata"]["name"]
        assert {each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"]} <= told
    assert {each["secret"]["secretName"] for each in POD["volumes"] if "secret" in each} <= told
    assert [each["configMapRef"]["name"] for each in CONTAINER["envFrom"]] == [kind("ConfigMap")["metadata"]["name"]]
    labels = DEPLOYED["template"]["metadata"]["labels"]
    selectors = [DEPLOYED["selector"]["matchLabels"], kind("Service")["spec"]["selector"]]
    selectors.append(kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    selectors += [each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]]
    assert selectors == [labels] * 4
    assert MIGRATION["template"]["metadata"]["labels"] != labels  # calls go to the service alone
    assert kind("PodDisruptionBudget")["spec"]["minAvailable"] < DEPLOYED["replicas"]


def test_image_has_the_pinned_service_and_traces() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    image, developed = pins("image"), pins("dev")
    assert pins("server").items() <= image.items()
    traces = {name: version for name, version in image.items() if name.startswith("opentelemetry-")}
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc"} <= traces.keys()
    assert traces.items() <= developed.items()  # the versions that the tests of traces run with


def test_image_is_built_of_what_gets_in_and_runs_as_nobody_with_nothing_to_compile() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert [path for path in let_in if not (ROOT / path).exists()] == []
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)
    assert [path for path in copied if path != "." and not any(fnmatch(path, each) for each in let_in)] == []
    build, last = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert "--require-hashes --only-binary :all: -r requirements/image.txt" in build
    assert re.search(r"\b(apt-get|pip|gcc)\b", last) is None
    assert re.findall(r"^ARG PYTHON=(\d+\.\d+\.\d+-slim-\w+)$", DOCKERFILE, re.MULTILINE)
    ports = {str(SETTINGS[f"DRAFTLINE_{name}"].info.default) for name in ("PORT", "METRICS_PORT")}
    assert set(re.findall(r"^EXPOSE (.*)$", last, re.MULTILINE)[0].split()) == ports
    assert re.findall(r"^USER", last, re.MULTILINE)
    assert re.findall(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)
