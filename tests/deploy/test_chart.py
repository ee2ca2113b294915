"""The chart: accepted by helm and by the Kubernetes schemas, settings that the bridge accepts, limits that add up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.manifests import CHART, KUBERNETES, manifests, template
from project_files import ROOT
from weighbridge.settings import Settings, load_settings

pytestmark = [pytest.mark.tools, pytest.mark.process]

NEWEST = "1.37.0"
OPERATORS_KINDS = {"ServiceMonitor", "PrometheusRule"}  # of the Prometheus Operator, not in Kubernetes' schemas
EVERYTHING = {
    "networkPolicy": {"enabled": True, "senders": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}]},
    "serviceMonitor": {"enabled": True, "extraLabels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbookUrl": "https://docs.example/operations.md"},
    "dashboards": {"enabled": True},
    "ingress": {"enabled": True, "className": "nginx", "hosts": [{"host": "otlp.example"}]},
    "secretEnv": {"values": {"MOESIF_APPLICATION_ID": "eyJhcHAiOiIxOjIifQ"}},
    "keys": {"values": ["acme:k-1", "globex:k-2"]},
    "tls": {"existingSecret": "bridge-tls", "clientCa": True},
    "imagePullSecrets": [{"name": "registry"}],
    "extraEnvs": [{"name": "A", "value": "b"}],
    "extraPorts": [{"name": "sql", "port": 8123}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "weighbridge"}},
        }
    ],
    "priorityClassName": "high",
    "persistence": {"storageClassName": "ssd", "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "podLabels": {"team": "api"},
    "extraManifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": {}}],
}
SERVER = {
    "replicaCount": 3,
    "config": {
        "exporter": {
            "sinks": [{"name": "s", "type": "clickhouse", "dsn": "http://u:${env:PASSWORD:-x}@db:8123/analytics"}]
        }
    },
    "resources": {"limits": {"memory": "1Gi"}},
}
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "server": SERVER,
    "no persistence": {"persistence": {"enabled": False}},
}


def rendered(tmp_path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    return [one for one in yaml.safe_load_all(template("--values", str(tmp_path / "values.yaml"))) if one]


def of_kind(objects: list[dict[str, Any]], kind: str, name: str = "weighbridge") -> dict[str, Any]:
    (found,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def settings_in(objects: list[dict[str, Any]], tmp_path: Path) -> Settings:
    """What the pod runs with: its ConfigMap over the image's own settings."""
    (tmp_path / "pod.yaml").write_text(of_kind(objects, "ConfigMap")["data"]["weighbridge.yaml"])
    under = {"WEIGHBRIDGE_DEFAULTS": str(ROOT / "config/container.yaml")}
    return load_settings(str(tmp_path / "pod.yaml"), under)


def refused(tmp_path: Path, values: dict[str, Any]) -> str:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered(tmp_path, values)
    return str(caught.value.stderr)


def test_helm_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    for name, values in VALUES.items():
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        command = ["helm", "lint", "--strict", "--kube-version", KUBERNETES, str(CHART), "--values", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stdout)


@pytest.mark.parametrize("version", [KUBERNETES, NEWEST])
def test_kubernetes_accepts_the_output(version: str, tmp_path: Path) -> None:
    files = []
    for name, values in VALUES.items():
        objects = [one for one in rendered(tmp_path, values) if one["kind"] not in OPERATORS_KINDS]
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump_all(objects))
    command = ["kubernetes-validate", "--strict", "--kubernetes-version", version.rpartition(".")[0], *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def read_by_operator(one: dict[str, Any]) -> tuple[int, str]:
    done = subprocess.run(["operator-kinds"], input=yaml.safe_dump(one), capture_output=True, text=True)
    return done.returncode, done.stderr


def test_the_prometheus_operator_reads_its_kinds(tmp_path: Path) -> None:
    """With its own types, and strictly: a field that is unknown to Kubernetes is left out in silence."""
    objects = [one for one in rendered(tmp_path, EVERYTHING) if one["kind"] in OPERATORS_KINDS]
    assert {one["kind"] for one in objects} == OPERATORS_KINDS
    for one in objects:
        assert read_by_operator(one) == (0, "")
        assert "unknown field" in read_by_operator({**one, "spec": {**one["spec"], "selectors": {}}})[1]
        assert read_by_operator({**one, "apiVersion": "monitoring.coreos.com/v2"})[0] == 1
    monitor = of_kind(objects, "ServiceMonitor")
    monitor["spec"]["endpoints"] = monitor["spec"]["endpoints"][0]  # a list is wanted
    assert read_by_operator(monitor)[0] == 1


def test_the_schemas_refuse_what_kubernetes_would(tmp_path: Path) -> None:
    wrong = of_kind(rendered(tmp_path, {}), "StatefulSet")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    command = ["kubernetes-validate", "--strict", "--kubernetes-version", "1.27", str(tmp_path / "wrong.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "imagePullPolice" in done.stdout + done.stderr) == (1, True)


@pytest.mark.parametrize("name", VALUES)
def test_the_bridge_accepts_the_settings(name: str, tmp_path: Path) -> None:
    found = settings_in(rendered(tmp_path, VALUES[name]), tmp_path)
    assert (found.receiver.endpoint, found.admin.endpoint) == ("0.0.0.0:4318", "0.0.0.0:13133")
    assert str(found.spool.directory) == "/var/lib/weighbridge/spool"


def test_the_default_limits_are_those_of_the_bridge(tmp_path: Path) -> None:
    """3 GiB and 40 GiB give what the bridge has without settings, to a hundredth."""
    found, usual = settings_in(rendered(tmp_path, {}), tmp_path), Settings()
    pairs = [
        (found.receiver.max_in_flight_bytes, usual.receiver.max_in_flight_bytes),
        (found.exporter.memory_bytes, usual.exporter.memory_bytes),
        (found.spool.max_bytes, usual.spool.max_bytes),
    ]
    here, there = (one.exporter.sinks[0].engine for one in (found, usual))  # type: ignore[attr-defined]
    pairs += [
        (getattr(here, name), getattr(there, name))
        for name in ("max_memory_bytes", "reader_max_memory_bytes", "mark_cache_bytes", "index_mark_cache_bytes")
    ]
    assert [pair for pair in pairs if abs(pair[0] / pair[1] - 1) > 0.01] == []


@pytest.mark.parametrize("memory", ["2Gi", "3G", "3Gi", "16Gi"])
def test_limits_follow_the_memory_of_the_pod(memory: str, tmp_path: Path) -> None:
    found = settings_in(rendered(tmp_path, {"resources": {"limits": {"memory": memory}}}), tmp_path)
    units = {"Gi": 1 << 30, "G": 10**9}
    limit = next(int(memory.removesuffix(unit)) * size for unit, size in units.items() if memory.endswith(unit))
    engine = found.exporter.sinks[0].engine  # type: ignore[attr-defined]
    # The engine overshoots by a third; a request under way takes what it counts for; the rest is the interpreter.
    most = engine.max_memory_bytes * 4 / 3 + found.receiver.max_in_flight_bytes + found.exporter.memory_bytes
    assert limit * 0.6 < most < limit * 0.75


def test_what_config_says_wins_and_the_rest_stays(tmp_path: Path) -> None:
    values = {
        "config": {
            "receiver": {"max_in_flight_bytes": 1 << 20, "keepalive_timeout_s": 5},
            "exporter": {
                "sinks": [
                    {
                        "name": "a",
                        "type": "clickhouse",
                        "dsn": "chdb:///var/lib/weighbridge/a",
                        "engine": {"readers": 5},
                    }
                ]
            },
        }
    }
    found = settings_in(rendered(tmp_path, values), tmp_path)
    assert found.receiver.max_in_flight_bytes == 1 << 20
    assert (found.receiver.keepalive_timeout_s, found.receiver.endpoint) == (5, "0.0.0.0:4318")
    engine = found.exporter.sinks[0].engine  # type: ignore[attr-defined]
    assert (engine.readers, engine.max_memory_bytes) == (5, (3 << 30) * 15 // 32)


@pytest.mark.parametrize(("lanes", "memory", "each"), [(1, "3Gi", 0.25), ({"count": 2}, "6Gi", 0.125)])
def test_lanes_share_the_memory_that_the_engine_leaves(lanes: Any, memory: str, each: float, tmp_path: Path) -> None:
    values = {"config": {"lanes": lanes, "mapping": {"inherit_across_requests_s": 0}}}
    values |= {"resources": {"limits": {"memory": memory}}}
    values["config"]["sampling"] = {"trust_upstream": False}
    found = settings_in(rendered(tmp_path, values), tmp_path)
    limit = int(memory.removesuffix("Gi")) << 30
    assert found.lanes.count == (lanes if isinstance(lanes, int) else lanes["count"])
    assert abs(found.lanes.memory_bytes / limit - each) < 0.001
    engine = found.exporter.sinks[0].engine  # type: ignore[attr-defined]
    assert engine.max_memory_bytes * 4 / 3 + int(found.lanes.count) * found.lanes.memory_bytes < limit * 0.9


def test_a_pod_has_longer_to_end_than_a_drain_takes(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {})
    pod = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]
    engine = settings_in(objects, tmp_path).exporter.sinks[0].engine  # type: ignore[attr-defined]
    assert pod["terminationGracePeriodSeconds"] >= engine.drain_s + 20


def test_the_pod_is_as_strict_as_the_container(tmp_path: Path) -> None:
    pod = of_kind(rendered(tmp_path, EVERYTHING), "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user = (ROOT / "Dockerfile").read_text().partition("USER ")[2].split()[0]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == int(user)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/var/lib/weighbridge", "/tmp", "/more"}
    assert pod["automountServiceAccountToken"] is False


def test_secrets_are_in_secrets_only(tmp_path: Path) -> None:
    objects = rendered(tmp_path, EVERYTHING)
    text = json.dumps([one for one in objects if one["kind"] != "Secret"])
    assert [word for word in ("k-1", "eyJhcHAi") if word in text] == []
    assert {one["metadata"]["name"] for one in objects if one["kind"] == "Secret"} == {
        "weighbridge-env",
        "weighbridge-keys",
    }
    found = settings_in(objects, tmp_path)
    assert str(found.receiver.auth.keys_file) == "/etc/weighbridge/keys/keys"
    assert found.receiver.tls
    assert str(found.receiver.tls.client_ca_file) == "/etc/weighbridge/tls/ca.crt"


def test_other_settings_are_another_pod(tmp_path: Path) -> None:
    def annotations(values: dict[str, Any]) -> Any:
        return of_kind(rendered(tmp_path, values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]

    usual = annotations({})
    assert annotations({"config": {"telemetry": {"log_level": "debug"}}}) != usual
    assert annotations({"secretEnv": {"values": {"A": "b"}}}) != usual
    assert annotations({"keys": {"existingSecret": "k"}}) != usual  # the settings name a file now
    assert annotations({"service": {"port": 80}}) == usual


def test_prometheus_scrapes_by_a_name_that_the_door_knows(tmp_path: Path) -> None:
    objects = rendered(tmp_path, EVERYTHING)
    monitor = of_kind(objects, "ServiceMonitor")["spec"]
    service = of_kind(objects, "Service", "weighbridge-headless")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["spec"]["publishNotReadyAddresses"] is True
    other = of_kind(objects, "Service")
    assert not monitor["selector"]["matchLabels"].items() <= other["metadata"]["labels"].items()
    hosts = settings_in(objects, tmp_path).admin.allowed_hosts
    assert {"weighbridge-headless.weighbridge.svc", "weighbridge"} <= set(hosts)


def test_a_further_port_is_one_of_pod_and_service(tmp_path: Path) -> None:
    objects = rendered(tmp_path, EVERYTHING)
    (container,) = of_kind(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]}["sql"] == 8123
    assert {port["name"]: port["targetPort"] for port in of_kind(objects, "Service")["spec"]["ports"]}["sql"] == "sql"


def test_a_node_can_be_drained(tmp_path: Path) -> None:
    assert of_kind(rendered(tmp_path, {}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_admin_port_is_for_some_only(tmp_path: Path) -> None:
    policy = of_kind(rendered(tmp_path, {"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    by_port = {rule["ports"][0]["port"]: rule for rule in policy["ingress"]}
    assert "from" not in by_port["otlp-http"]
    assert by_port["admin"]["from"] == [{"podSelector": {}}]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replicaCount": 2}, "an embedded store belongs to one pod"),
        ({"resources": {"limits": {"memory": "1Gi"}}}, "too little for an embedded store"),
        ({"resources": {"limits": {"memory": "3 gigs"}}}, "memory"),
        ({"resources": {"limits": {"memory": None}}}, "memory"),
        ({"config": {"receiver": {"endpoint": "127.0.0.1:4318"}}}, "cannot be reached from outside the pod"),
        ({"config": {"receiver": {"endpoint": "0.0.0.0:9999"}}}, "the chart's port is 4318"),
        ({"config": {"admin": {"endpoint": "0.0.0.0:1"}}}, "the chart's port is 13133"),
        ({"config": {"receivers": {}}}, "receivers"),
        ({"config": {"lanes": "auto"}}, "config.lanes: write a number"),
        ({"config": {"lanes": 5}}, "too little for 5 lanes"),
        ({"config": {"exporter": {"sinks": []}}}, "sinks"),
        ({"replicas": 2}, "replicas"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
        ({"image": {"digest": "latest"}}, "digest"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any], says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, values)


def test_the_plain_manifests_are_the_charts_output() -> None:
    """Mend it with: python -m deploy.manifests"""
    there = manifests()
    assert len(there) == 2
    assert {path.name: path.read_text() for path in there} == {path.name: text for path, text in there.items()}


def test_the_chart_is_of_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()
    assert chart["kubeVersion"] == f">={KUBERNETES}-0"
