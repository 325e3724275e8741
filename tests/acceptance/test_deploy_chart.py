"""The Helm chart agrees with the manifest, the settings and itself; the systemd unit with the command line.

The chart is rendered by tests/support/helm_templates.py, because Helm is no Python package.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.settings import SETTINGS, Settings
from support.helm_templates import rendered

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
CHART = DEPLOY / "helm" / "draftline"
UNIT = DEPLOY / "systemd" / "draftline.service"
MANIFEST = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
EVERYTHING: dict[str, Any] = {
    "auth": {"serviceKeysSecretName": "draftline-keys"},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"team": "content"}},
    "settings": {"DRAFTLINE_QUEUE_LIMIT": 1000},
    "tls": {"clientCaSecretName": "draftline-ca"},
}


def objects(**values: Any) -> dict[str, Any]:
    return {each["kind"]: each for each in rendered(CHART, "draftline", **values)}


def without_instance(value: Any) -> Any:
    """Return an object without the label and the annotations that only the chart needs."""
    if isinstance(value, dict):
        return {
            name: without_instance(each)
            for name, each in value.items()
            if name not in ("app.kubernetes.io/instance", "imagePullPolicy") and not name.startswith("helm.sh/")
        }
    return [without_instance(each) for each in value] if isinstance(value, list) else value


def test_chart_has_the_objects_of_the_manifest() -> None:
    chart, manifest = objects(), dict(MANIFEST)
    assert chart.keys() == manifest.keys()
    assert without_instance(chart["ConfigMap"]) == manifest["ConfigMap"]
    deployed, expected = without_instance(chart["Deployment"]), manifest["Deployment"]
    assert deployed == expected
    job = without_instance(chart["Job"])["spec"]
    assert job["template"]["spec"].pop("automountServiceAccountToken") is False
    assert job == manifest["Job"]["spec"]
    assert without_instance(chart["PodDisruptionBudget"]) == manifest["PodDisruptionBudget"]


def test_values_lead_to_objects_and_settings_that_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    chart = objects(**EVERYTHING)
    assert {"HorizontalPodAutoscaler", "ServiceMonitor"} <= chart.keys()
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in chart["ConfigMap"]["data"].items():
        assert isinstance(value, str)
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.is_protected
    assert settings.limits.queue_limit == 1000
    pod = chart["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    for path in (settings.tls.client_ca_file, settings.tls.key_file, settings.auth.service_keys_file):
        assert path is not None
        assert str(path.parent) in mounted
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}
    assert "replicas" not in chart["Deployment"]["spec"]
    assert "annotations" not in pod["metadata"]
    assert chart["ServiceMonitor"]["metadata"]["labels"]["team"] == "content"
    (endpoint,) = chart["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] in [each["name"] for each in chart["Service"]["spec"]["ports"]]
    assert (
        chart["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
        <= chart["Service"]["metadata"]["labels"].items()
    )
    assert chart["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == chart["Deployment"]["metadata"]["name"]
    assert (
        objects(drainTimeoutSeconds=60)["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 75
    )
    assert "Job" not in objects(migrate={"enabled": False})


def test_two_releases_share_no_object() -> None:
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in rendered(CHART, name, **EVERYTHING)} for name in "ab"
    ]
    assert not names[0] & names[1]


def test_every_value_is_used() -> None:
    text = "".join(each.read_text() for each in (CHART / "templates").glob("*.yaml"))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    paths = [
        f".Values.{name}.{key}"
        if isinstance(value, dict) and name not in ("settings", "resources")
        else f".Values.{name}"
        for name, value in values.items()
        for key in (value if isinstance(value, dict) and value else [""])
    ]
    assert [path for path in paths if path not in text] == []


def test_unit_is_valid_and_runs_commands_that_exist() -> None:
    text = UNIT.read_text()
    for command in re.findall(r"^ExecStart(?:Pre)?=/opt/draftline/bin/draftline (.*)$", text, re.MULTILINE):
        assert CliRunner().invoke(main, [*shlex.split(command), "--help"]).exit_code == 0
    named = {f"DRAFTLINE_{name}" for name in re.findall(r"\bDRAFTLINE_([A-Z_]+)\b", text)}
    assert named - {"DRAFTLINE_CONFIG"} <= SETTINGS.keys()
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(stop_s) >= Settings.model_fields["server"].default.drain_timeout_s + 5


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "draftline.service"
    # The user and the program are not on this machine.
    unit.write_text(re.sub(r"=/opt/draftline/bin/draftline\b.*", "=/bin/true", UNIT.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "draftline.service" in line]
    assert own == []
