"""The examples of deploy/: that they are valid, agree with themselves, and that a coordinator starts with what is in them."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
ENGINE = ROOT / "tests" / "engines" / "postgres"
# Where .ci/run unpacks Debian's packages.
UNPACKED = ROOT / "target" / "proxies"
COORDINATOR = os.environ["PET_COORDINATOR"]
SECONDS = 60.0
# The earliest that has all that is used, and the latest that the schemas are of.
VERSIONS = ["1.30", "1.37"]

Document = dict[str, Any]


def documents() -> list[Document]:
    files = sorted(KUBERNETES.glob("*.yaml"))
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    # (That is for kubectl, and has no name.)
    return [document for document in found if document["kind"] != "Kustomization"]


def named(kind: str, name: str) -> Document:
    found = [d for d in documents() if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def containers(deployment: Document) -> list[Document]:
    pod = deployment["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str) -> None:
    known = documents()
    assert len(known) == 9
    if kubeconform := shutil.which("kubeconform"):
        command = [kubeconform, "-strict", "-kubernetes-version", f"{version}.0"]
        command += ["-skip", "Kustomization", str(KUBERNETES)]
        subprocess.run(command, check=True)
        return
    validator = pytest.importorskip(
        "kubernetes_validate", reason="neither kubeconform nor kubernetes-validate is installed"
    )
    for document in known:
        validator.validate(document, version, strict=True)
    # It finds what is wrong.
    for key, value in [("replicas", "three"), ("replica", 3)]:
        wrong = named("Deployment", "pet")
        wrong["spec"][key] = value
        with pytest.raises(validator.ValidationError):
            validator.validate(wrong, version, strict=True)


def test_all_files_are_applied() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    others = {file.name for file in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == others


@pytest.mark.parametrize("name", ["pet", "pet-balancer"])
def test_the_manifests_agree(name: str) -> None:
    deployment = named("Deployment", name)
    spec, template = deployment["spec"], deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert named("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    for spread in template["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    for container in containers(deployment):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        for mount in container["volumeMounts"]:
            if settings := volumes[mount["name"]].get("configMap"):
                named("ConfigMap", settings["name"])
        for variable in container.get("env", []):
            secret = variable["valueFrom"]["secretKeyRef"]
            assert secret["key"] in named("Secret", secret["name"])["stringData"]
        ports = {port["name"] for port in container.get("ports", [])}
        probes = [container[key] for key in container if key.endswith("Probe")]
        assert all(probe["httpGet"]["port"] in ports for probe in probes)
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    services = [d for d in documents() if d["kind"] == "Service"]
    services = [service for service in services if service["spec"]["selector"] == labels]
    assert len(services) == 1
    assert {port["targetPort"] for port in services[0]["spec"]["ports"]} <= ports


def test_the_balancer_asks_the_replicas() -> None:
    settings = named("ConfigMap", "pet-balancer")["data"]["haproxy.cfg"]
    service = named("Service", "pet-replicas")
    port = service["spec"]["ports"][0]["port"]
    asked = re.findall(r"server-template \w+ (\d+) ([\w-]+):(\d+)", settings)
    assert len(asked) == 3
    most = named("Deployment", "pet")["spec"]["replicas"] + 1
    for places, name, asked_port in asked:
        assert int(places) > most
        assert (name, int(asked_port)) == (service["metadata"]["name"], port)
    # What the page says of a leader that ends.
    alone = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    for line in [
        "timeout connect 250ms",
        "retries 4",
        "GET /readyz?leader",
        "GET /readyz?follower",
    ]:
        assert line in settings and line in alone


@pytest.mark.parametrize("example", ["alone", "kubernetes"])
def test_haproxy_takes_its_settings(example: str, tmp_path: Path) -> None:
    binary = shutil.which("haproxy") or shutil.which("haproxy", path=str(UNPACKED / "usr" / "sbin"))
    if binary is None:
        pytest.skip("haproxy is not installed (Debian: apt-get install haproxy)")
    if example == "alone":
        text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    else:
        text = named("ConfigMap", "pet-balancer")["data"]["haproxy.cfg"]
    libraries = os.pathsep.join(map(str, UNPACKED.glob("usr/lib/*-linux-gnu")))
    file = tmp_path / "haproxy.cfg"

    def check(settings: str) -> subprocess.CompletedProcess[str]:
        file.write_text(settings)
        return subprocess.run(
            [binary, "-c", "-f", str(file)],
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            capture_output=True,
            text=True,
            check=False,
        )

    done = check(text)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    assert check(text.replace("retries 4", "retrials 4")).returncode != 0


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server of its own."""
    if subprocess.run([ENGINE, "where"], capture_output=True, check=False).returncode != 0:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    memory = subprocess.run([ENGINE, "memory"], capture_output=True, text=True, check=True).stdout
    folder = tempfile.mkdtemp(prefix="pet-postgres-", dir=memory.strip())
    try:
        started = subprocess.run(
            [ENGINE, "start", folder], stdout=subprocess.PIPE, text=True, check=True
        )
        yield started.stdout.strip()
    finally:
        subprocess.run([ENGINE, "kill", folder], capture_output=True, check=False)
        shutil.rmtree(folder)


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def until(status_is: int, port: int, path: str) -> None:
    deadline = time.monotonic() + SECONDS
    while (last := status(port, path)) != status_is:
        assert time.monotonic() < deadline, f"{path} still answers {last}"
        time.sleep(0.05)


def test_a_replica_starts_with_these_settings(tmp_path: Path) -> None:
    """With the file and the variables of the manifests, as they are but for the places of what is there."""
    deployment = named("Deployment", "pet")
    init, serve = containers(deployment)
    secrets = named("Secret", "pet-secrets")["stringData"]
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    text = named("ConfigMap", "pet-settings")["data"]["pet.toml"]
    # Each folder of a container is one here, with what is in it.
    for mount in serve["volumeMounts"]:
        folder = tmp_path / mount["name"]
        folder.mkdir()
        volume = next(volume for volume in volumes if volume["name"] == mount["name"])
        if "emptyDir" in volume:
            # As the kubelet makes it, which root owns.
            folder.chmod(0o2777)
        for item in volume.get("secret", {}).get("items", []):
            (folder / item["path"]).write_text(secrets[item["key"]])
            # Root's, which the group may read, as the kubelet makes it.
            (folder / item["path"]).chmod(0o440 if os.geteuid() == 0 else 0o600)
        text = text.replace(mount["mountPath"] + "/", f"{folder}/")
    settings = tmp_path / "settings" / "pet.toml"
    settings.write_text(text)
    with postgres() as url:
        environment = dict(os.environ)
        for container in [init, serve]:
            for variable in container["env"]:
                environment[variable["name"]] = secrets[
                    variable["valueFrom"]["secretKeyRef"]["key"]
                ]

        def command(container: Document) -> list[str]:
            arguments = [
                str(settings) if a == "/etc/pet/pet.toml" else a for a in container["args"]
            ]
            assert arguments != container["args"]
            return [COORDINATOR, *arguments]

        check = [COORDINATOR, "check-config", "--config", str(settings)]
        checked = subprocess.run(
            check, env=environment, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        environment["XAYNET__POSTGRES__URL"] = url
        # Once for each pod.
        for _ in range(2):
            subprocess.run(command(init), env=environment, check=True)
        port_file = tmp_path / "port"
        places = ["--bind", "127.0.0.1:0", "--port-file", str(port_file)]
        with subprocess.Popen([*command(serve), *places], env=environment) as process:
            try:
                deadline = time.monotonic() + SECONDS
                while not port_file.exists() or not port_file.stat().st_size:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.05)
                port = int(port_file.read_text().rsplit(":", 1)[1])
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                    until(200, port, serve[probe]["httpGet"]["path"])
                until(200, port, "/readyz?leader")
                until(503, port, "/readyz?follower")
                process.terminate()
                grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                assert process.wait(grace) == 0
            finally:
                process.kill()
