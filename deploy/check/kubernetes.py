#!/usr/bin/python3
"""Checks deploy/kubernetes/eio-server.yaml against the program: its file, its variables, its ports, its times.

usage: deploy/check/kubernetes.py PROGRAM

Needs Debian's python3-yaml, and Python 3.11.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MANIFEST = ROOT / "deploy/kubernetes/eio-server.yaml"


def seconds(time):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|)", time).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "": 0}[unit]


def main():
    program = sys.argv[1]
    objects = {item["kind"]: item for item in yaml.safe_load_all(MANIFEST.read_text())}
    assert set(objects) == {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}, set(objects)
    pod = objects["Deployment"]["spec"]["template"]
    spec, (container,) = pod["spec"], pod["spec"]["containers"]

    # The file is valid, together with the variables, and is where the arguments say.
    (name, text), = objects["ConfigMap"]["data"].items()
    (mount,), (volume,) = container["volumeMounts"], spec["volumes"]
    assert container["args"] == ["--config", f"{mount['mountPath']}/{name}"], container["args"]
    assert mount["name"] == volume["name"], volume
    assert volume["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"], volume
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        subprocess.run([program, "--check", "--config", file.name], env=variables, check=True)
    example = subprocess.run([program, "--example-config"], check=True, capture_output=True, text=True).stdout
    default = tomllib.loads(re.sub(r"(?m)^#(\w+ = )", r"\1", example))
    options = {**default, **tomllib.loads(text)}
    for variable in variables:
        assert variable.removeprefix("EIO_").lower() in default, f"{variable} is not an option"

    # Ports and paths.
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert options["listen"] == f"0.0.0.0:{ports['http']}", options["listen"]
    assert options["admin"] == f"0.0.0.0:{ports['admin']}", options["admin"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])
    for probe, path in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]:
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}, probe
    (port,) = objects["Service"]["spec"]["ports"]
    assert port["targetPort"] in ports, port

    # The drain waits until the readiness probe has failed, and SIGKILL waits for the drain.
    readiness = container["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert seconds(options["drain_wait"]) > noticed, options["drain_wait"]
    needed = sum(seconds(options[name]) for name in ["drain_wait", "drain_time", "shutdown_timeout"])
    assert spec["terminationGracePeriodSeconds"] > needed, needed

    # Selectors find the pods.
    labels = pod["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    print("the manifest fits the program")


main()
