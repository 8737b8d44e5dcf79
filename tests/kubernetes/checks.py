"""Checks manifests against the Kubernetes schemas, and what the schemas cannot see. Ends with `N passed, N failed`."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/grantd"
RENDER = sys.argv[1]
# The oldest and the newest version with a schema here that the chart allows.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())

passed = failed = 0


def check(what, is_so, detail=""):
    global passed, failed
    if is_so:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {what} {detail}")


def merged(into, values):
    result = dict(into)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def is_valid(values):
    return not list(jsonschema.Draft7Validator(SCHEMA).iter_errors(merged(DEFAULTS, values)))


def render(values):
    file = Path("values.yaml")
    file.write_text(yaml.safe_dump(values))
    done = subprocess.run([RENDER, CHART, "id", "auth", file], capture_output=True, text=True)
    if done.returncode:
        return done.stdout + done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def follows_schema(name, manifest):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
            problem = None
        except kubernetes_validate.ValidationError as error:
            problem = f"{'.'.join(map(str, error.path))}: {error.message}"
        check(f"{name}: {manifest['kind']} follows the schema of {version}", problem is None, problem)


def pod(manifests):
    [deployment] = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


def variables(manifests):
    [container] = pod(manifests)["containers"]
    return {variable["name"]: variable for variable in container["env"]}


def of_kind(manifests, kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def is_sound(name, manifests):
    """What holds for the plain manifests and for each rendering of the chart."""
    for manifest in manifests:
        follows_schema(name, manifest)
    spec = pod(manifests)
    [container] = spec["containers"]
    settings = variables(manifests)
    security = {**spec["securityContext"], **container["securityContext"]}
    check(f"{name}: not root", security["runAsNonRoot"] and security["runAsUser"] == 10001)
    check(f"{name}: read-only", security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"])
    check(f"{name}: no capability", security["capabilities"] == {"drop": ["ALL"]})
    check(f"{name}: seccomp", security["seccompProfile"]["type"] == "RuntimeDefault")
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"] + seconds(settings["GRANTD_SHUTDOWN_TIMEOUT"]["value"])
    check(f"{name}: the grace period is longer than the drain", drain < spec["terminationGracePeriodSeconds"])
    [deployment] = of_kind(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in of_kind(manifests, "Service")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind(manifests, "NetworkPolicy")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")]
    selectors += [spread["labelSelector"]["matchLabels"] for spread in spec["topologySpreadConstraints"]]
    check(f"{name}: every selector finds the pods", all(chosen.items() <= labels.items() for chosen in selectors))
    ports = {port["name"] for port in container["ports"]}
    used = {port["targetPort"] for service in of_kind(manifests, "Service") for port in service["spec"]["ports"]}
    rules = [rule for policy in of_kind(manifests, "NetworkPolicy") for rule in policy["spec"]["ingress"]]
    used |= {port["port"] for rule in rules for port in rule["ports"]}
    check(f"{name}: every port exists", used <= ports, used - ports)
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        check(f"{name}: the autoscaler scales the deployment", scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"])
        check(f"{name}: the deployment leaves the number to it", "replicas" not in deployment["spec"])


plain = [manifest for manifest in yaml.safe_load_all((ROOT / "deploy/kubernetes.yml").read_text()) if manifest]
is_sound("deploy/kubernetes.yml", plain)
check("deploy/kubernetes.yml has all kinds", {manifest["kind"] for manifest in plain} >= {
    "Deployment", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"})
for file in sorted((ROOT / "deploy").glob("kubernetes-*.yml")):
    for manifest in filter(None, yaml.safe_load_all(file.read_text())):
        follows_schema(file.name, manifest)

controller = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}
LEAST = {"issuer": "https://id.example.com", "trustedProxies": "10.244.0.0/16"}
ALL = {
    **LEAST,
    "image": {"repository": "registry.example.com/grantd", "tag": "0.1.0"},
    "imagePullSecrets": [{"name": "registry"}],
    "secret": {"create": True, "databaseUrl": "postgres://u:p@db/x", "masterKey": "k" * 43, "adminPassword": "p" * 12},
    "autoscaling": {"enabled": True},
    "tls": {"secretName": "id-tls"},
    "settings": {"GRANTD_RATE_LIMIT": "1000/1s"},
    "metricsPort": 9464,
    "service": {"annotations": {"a": "b"}},
    "ingress": {"enabled": True, "className": "traefik", "annotations": {"a": "b"}, "tlsSecretName": "id-example-com-tls"},
    "networkPolicy": {"from": [controller], "metricsFrom": [controller]},
    "extraVolumes": [{"name": "setup", "configMap": {"name": "setup"}}],
    "extraVolumeMounts": [{"name": "setup", "mountPath": "/etc/grantd/setup"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "login"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
for name, values in {"the chart with the least values": LEAST, "the chart with all values": ALL}.items():
    check(f"{name}: the values are valid", is_valid(values))
    is_sound(name, render(values))

least, everything = render(LEAST), render(ALL)
memory = {"least": least, "plain": plain}
for name, manifests in memory.items():
    [container] = pod(manifests)["containers"]
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    needed = 64 + 256 + 19 * int(variables(manifests)["GRANTD_HASH_THREADS"]["value"])
    check(f"{name}: the memory limit has room for the hash threads", needed <= limit, needed)
mounts = {mount["name"] for mount in pod(everything)["containers"][0]["volumeMounts"]}
check("every mount has its volume", mounts == {volume["name"] for volume in pod(everything)["volumes"]} == {"tls", "setup"})
[public, metrics] = of_kind(everything, "Service")
check("metrics have a Service of their own", [port["name"] for port in public["spec"]["ports"]] == ["http"]
      and metrics["spec"]["clusterIP"] == "None" and [port["name"] for port in metrics["spec"]["ports"]] == ["metrics"])
check("without a pause, there is no hook", "lifecycle" not in pod(render({**LEAST, "preStopSeconds": 0}))["containers"][0])
for what, values in {
    "neither a proxy nor TLS": {"issuer": "https://id.example.com"},
    "a grace period that is too short": {**LEAST, "shutdownTimeout": "1m"},
}.items():
    problem = render(values)
    check(f"the rendering refuses {what}", "trustedProxies" in problem or "terminationGracePeriodSeconds" in problem, problem)
check("the least has no Ingress, Secret and autoscaler", {m["kind"] for m in least} == {
    "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"})
check("nothing may connect until it is allowed", of_kind(least, "NetworkPolicy")[0]["spec"]["ingress"] == [])
check("all has every kind", {m["kind"] for m in everything} == {
    "Deployment", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Secret"})
[ingress] = of_kind(everything, "Ingress")
check("the host is that of the issuer", ingress["spec"]["rules"][0]["host"] == "id.example.com")
[container] = pod(everything)["containers"]
probes = [container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
check("probes speak TLS where the pod does", {probe.get("scheme") for probe in probes} == {"HTTPS"})
[secret] = of_kind(everything, "Secret")
references = {v["valueFrom"]["secretKeyRef"]["key"] for v in variables(everything).values() if "valueFrom" in v}
check("the secret has the keys that the pod reads", references == set(secret["stringData"]))
documented = (ROOT / "docs/settings.md").read_text()
unknown = [name for name in variables(everything) if f"`{name}`" not in documented]
check("every variable is a setting", not set(unknown) - {"GRANTD_METRICS_ADDRESS"}, unknown)
for what, wrong in {
    "no issuer": {"issuer": ""},
    "an issuer with a query": {**LEAST, "issuer": "https://id.example.com?a=b"},
    "a misspelt value": {**LEAST, "replica": 3},
    "a setting that is none": {**LEAST, "settings": {"RUST_LOG": "debug"}},
    "a number as a setting": {**LEAST, "settings": {"GRANTD_HASH_QUEUE": 64}},
    "a setting that the chart makes": {**LEAST, "settings": {"GRANTD_MASTER_KEY": "k" * 43}},
    "no section": {**LEAST, "tls": None},
    "a created secret without values": {**LEAST, "secret": {"create": True}},
}.items():
    check(f"refused: {what}", not is_valid(wrong))

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
