"""Checks the examples of gateways in deploy/ by what is to be had of those that read them: see scripts/manifests.

Usage: manifests-gateways.py core FOLDER | istio | envoy PROGRAM FOLDER | schemas FOLDER

  core FOLDER     writes what Kubernetes itself reads into FOLDER, and the pod that Envoy Gateway is to make, for another validator
  istio           Istio's resources, by the models that cloudcoil made of its definitions
  envoy PROGRAM FOLDER
                  what EnvoyFilters put into Envoy's configuration, by Envoy
  schemas FOLDER  resources by the CustomResourceDefinitions in FOLDER, and agentgateway's configuration by its config.json there

Unknown fields are faults. Rules in CEL are not evaluated. Prints a line for each that is right; exits with 1 at the first that is wrong.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import subprocess
import sys
from typing import Any

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[1] / "deploy"
FILES = [*sorted((DEPLOY / "istio").glob("*.yaml")), *sorted((DEPLOY / "envoy-gateway").glob("*.yaml"))]


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(1)


def resources() -> list[tuple[pathlib.Path, dict[str, Any]]]:
    return [
        (file, document) for file in FILES for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if document and "kind" in document
    ]


def name_of(resource: dict[str, Any]) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def is_core(resource: dict[str, Any]) -> bool:
    return "." not in resource["apiVersion"].split("/")[0]


def patched_deployment(proxy: dict[str, Any]) -> dict[str, Any]:
    """The pod of an EnvoyProxy: what Envoy Gateway makes, with only what the example adds to it."""
    made = proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]
    pod = dict(made["patch"]["value"]["spec"]["template"]["spec"])
    envoy = {"name": "envoy", "image": "envoy", **made["container"]}
    pod |= {**made["pod"], "containers": [envoy, *pod["containers"]]}
    labels = {"app": "envoy"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": proxy["metadata"]["name"]},
        "spec": {
            "replicas": made["replicas"], "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }  # fmt: skip


def core(folder: pathlib.Path) -> None:
    for file in FILES:
        found = [resource for at, resource in resources() if at == file and is_core(resource)]
        found += [patched_deployment(r) for at, r in resources() if at == file and r["kind"] == "EnvoyProxy"]
        if found:
            (folder / f"{file.parent.name}.{file.name}").write_text(yaml.safe_dump_all(found), encoding="utf-8")


def istio() -> None:
    for file, resource in resources():
        group, _, version = resource["apiVersion"].partition("/")
        if not group.endswith("istio.io"):
            continue
        module = importlib.import_module(f"cloudcoil.models.istio.{group.split('.')[0]}.{version}")
        try:
            read = getattr(module, resource["kind"]).model_validate(resource)
        except ValueError as fault:
            fail(f"{file.relative_to(DEPLOY)}: {name_of(resource)}: {fault}")
        # The models drop what they do not know, so it is missing from what they give back.
        if read.model_dump(mode="json", by_alias=True, exclude_unset=True) != resource:
            fail(f"{file.relative_to(DEPLOY)}: {name_of(resource)} has a field that Istio does not know")
        print(f"deploy/{file.relative_to(DEPLOY)}: {name_of(resource)}")


def merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def bootstrap(filters: list[dict[str, Any]]) -> dict[str, Any]:
    """Envoy's configuration with a gateway's listener as Istio makes it, patched."""
    host: dict[str, Any] = {"name": "host", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}  # fmt: skip
    manager: dict[str, Any] = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [],
        },
    }
    clusters: list[dict[str, Any]] = []
    for change in filters:
        value = change["patch"]["value"]
        match change["applyTo"], change["patch"]["operation"]:
            case "CLUSTER", "ADD":
                clusters.append(value)
            case "HTTP_FILTER", "INSERT_BEFORE":
                manager["typed_config"]["http_filters"].append(value)
            case "NETWORK_FILTER", "MERGE":
                merge(manager, value)
            case "VIRTUAL_HOST", "MERGE":
                merge(host, value)
            case other:
                fail(f"an EnvoyFilter has {other}, which is not looked at here")
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager["typed_config"]["http_filters"].append({"name": "envoy.filters.http.router", "typed_config": {"@type": router}})
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    listener = {"name": "gateway", "address": address, "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def envoy(program: str, folder: pathlib.Path) -> None:
    for file, resource in resources():
        if resource["kind"] != "EnvoyFilter":
            continue
        path = folder / f"{resource['metadata']['name']}.json"
        path.write_text(json.dumps(bootstrap(resource["spec"]["configPatches"])), encoding="utf-8")
        words = [program, "--mode", "validate", "--use-dynamic-base-id", "--log-level", "error", "-c", str(path)]
        run = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if run.returncode != 0:
            fail(f"{file.relative_to(DEPLOY)}: {name_of(resource)}: {run.stdout[-2000:]}")
        print(f"deploy/{file.relative_to(DEPLOY)}: what {name_of(resource)} adds to Envoy")


def strict(schema: Any) -> Any:
    """A definition's schema with unknown fields as faults, and what JSON Schema has no word for in words that it has."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def definitions(folder: pathlib.Path) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for path in sorted(folder.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if not document or document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # What every resource has, and some definitions leave out.
                schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def schemas(folder: pathlib.Path) -> None:
    import jsonschema

    def check(what: str, document: Any, schema: Any) -> None:
        validator = jsonschema.validators.validator_for(schema)(schema)
        for fault in validator.iter_errors(document):
            fail(f"{what}: {fault.json_path}: {fault.message[:500]}")
        print(what)

    known = definitions(folder)
    for file, resource in resources():
        kind = (resource["apiVersion"], resource["kind"])
        if is_core(resource):
            continue
        if kind in known:
            check(f"deploy/{file.relative_to(DEPLOY)}: {name_of(resource)}", resource, known[kind])
        else:
            print(f"skipped: {folder} has no definition of {' '.join(kind)}")
    for path in sorted(folder.rglob("config.json")):
        document = yaml.safe_load((DEPLOY / "agentgateway/config.yaml").read_text(encoding="utf-8"))
        check("deploy/agentgateway/config.yaml", document, json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    match sys.argv[1:]:
        case ["core", folder]:
            core(pathlib.Path(folder))
        case ["istio"]:
            istio()
        case ["envoy", program, folder]:
            envoy(program, pathlib.Path(folder))
        case ["schemas", folder]:
            schemas(pathlib.Path(folder))
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(64)


main()
