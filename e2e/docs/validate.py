"""Checks the blocks of pages without running them."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import tempfile
from typing import Any

import harness
import page as pages
from harness import ROOT

FOLDERS = "operator|workloads|e2e|images|monitoring|charts|gitops|deploy|crds|docs|lint"
FILE = re.compile(rf"(?<![\w./:@$}}-])(?:\./)?((?:{FOLDERS})/[\w./*-]*[\w*/])")
MAKE = re.compile(
    r"(?:^|[;&|(]|\bthen|\bdo)\s*(?:\w+=\S*\s+|time\s+)*make\s+([^;&|)#\n]*)", re.MULTILINE
)
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
FRAGMENT = re.compile(r"^# (\w+): ([\w.*\[\]/-]+)$")
# Definitions of other projects, in their Go modules.
FOREIGN = {
    "argoproj.io": ("github.com/argoproj/argo-cd/v3@v3.5.7", "manifests/crds/application-crd.yaml"),
    "source.toolkit.fluxcd.io": (
        "github.com/fluxcd/source-controller@v1.9.6",
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
    "kustomize.toolkit.fluxcd.io": (
        "github.com/fluxcd/kustomize-controller@v1.9.6",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
}

Fault = tuple[pages.Block, str]


def all_pages() -> list[pathlib.Path]:
    return [ROOT / name for name in harness.tree("*.md")]


@functools.cache
def _kubeconform() -> Any:
    """The script e2e/kubeconform as a module."""
    loader = importlib.machinery.SourceFileLoader("kubeconform", str(ROOT / "e2e/kubeconform"))
    spec = importlib.util.spec_from_loader("kubeconform", loader)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


@functools.cache
def _targets() -> set[str]:
    """The targets of the Makefile."""
    environment = {**os.environ, "LC_ALL": "C", "MAKEFLAGS": ""}
    database = harness.attempt("make", "-pRrq", ":", cwd=ROOT, env=environment)
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", database.stdout, re.MULTILINE))


def _parse(text: str) -> Any:
    """The value of a YAML document. kubectl parses it, so this needs no library."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as base:
        base.write("{apiVersion: docs.test/v1, kind: Any, metadata: {name: any}}")
        base.flush()
        patch = "data:\n" + "".join(f"  {line}\n" for line in text.splitlines())
        command = [harness.tool("kubectl"), "patch", "--local", "-f", base.name, "--type", "merge"]
        done = harness.attempt(
            *command, "-p", patch, "-o", "json", env={**os.environ, "KUBECONFIG": "/dev/null"}
        )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return json.loads(done.stdout).get("data")


def _documents(text: str) -> list[str]:
    return [
        part
        for part in re.split(r"^---.*$\n?", text, flags=re.MULTILINE)
        if re.search(r"^\s*[^#\s]", part, re.MULTILINE)
    ]


def _commands(block: pages.Block) -> list[str]:
    """Faults of the commands of a block."""
    scripts = (
        [command.script for command in block.commands()]
        if block.language == "console"
        else [block.text]
    )
    faults = []
    for script in scripts:
        done = harness.attempt("bash", "-n", input=script)
        # bash only warns about a heredoc that does not end.
        if done.returncode != 0 or done.stderr:
            faults.append(f"bash: {done.stderr.strip()}")
        for name in FILE.findall(script):
            if not any(ROOT.glob(name.removesuffix("/"))):
                faults.append(f"{name} does not exist")
        bare = re.sub(QUOTED, "", script.replace("\\\n", " "))
        for arguments in MAKE.findall(bare):
            for word in arguments.split():
                if re.fullmatch(r"[a-z][\w-]*", word) and word not in _targets():
                    faults.append(f"make has no target '{word}'")
                if word in (">", "2>"):
                    break
    return faults


class Schemas:
    """Schemas of Kubernetes, the CRDs and fragments, for one run of kubeconform."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._manifests: dict[str, tuple[pages.Block, int]] = {}
        self._foreign: set[str] = set()
        _kubeconform().kubernetes(folder)
        _kubeconform().custom(folder)

    def add(self, block: pages.Block, document: Any) -> None:
        self._add_foreign(document["apiVersion"].split("/")[0])
        self._write(block, document)

    def _write(self, block: pages.Block, document: Any) -> None:
        number = len(self._manifests)
        name = f"{number}.manifest.json"
        (self.folder / name).write_text(json.dumps(document))
        self._manifests[name] = (block, number)

    def _add_foreign(self, group: str) -> None:
        if group in FOREIGN and group not in self._foreign:
            self._foreign.add(group)
            module, file = FOREIGN[group]
            folder = json.loads(harness.output("go", "mod", "download", "-json", module))["Dir"]
            _kubeconform().definitions(self.folder, [pathlib.Path(folder, file)])

    def add_fragment(self, block: pages.Block, kind: str, path: str, value: Any) -> None:
        """Checks a part of an object against the part of the schema at its path."""
        steps = path.split(".")
        schema, root = self._schema(kind)
        parent = schema
        for step in steps:
            parent, schema = schema, self._below(schema, step, root)
        # A fragment may begin at its path, at the path's last field, or at the object's root.
        if (
            isinstance(value, dict)
            and value.keys() == {steps[0]}
            and steps[0] not in self._properties(schema)
        ):
            schema, _ = self._schema(kind)
        elif (
            isinstance(value, dict)
            and value.keys() == {steps[-1]}
            and steps[-1] not in self._properties(schema)
        ):
            schema = parent
        # It shows some fields, so none is required at its top.
        schema = {
            name: part
            for name, part in schema.items()
            if name not in ("required", "x-kubernetes-validations")
        }
        number = len(self._manifests)
        wrapper = {
            "type": "object",
            "definitions": root.get("definitions", {}),
            "properties": {"apiVersion": {}, "kind": {}, "value": schema},
            "additionalProperties": False,
        }
        (self.folder / f"fragment{number}-docs-v1.json").write_text(json.dumps(wrapper))
        self._write(
            block, {"apiVersion": "docs.test/v1", "kind": f"Fragment{number}", "value": value}
        )

    def _schema(self, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        found = sorted(
            self.folder.glob(f"{kind.lower()}-*.json"),
            key=lambda path: "beta" in path.name or "alpha" in path.name,
        )
        found = [path for path in [self.folder / f"{kind.lower()}.json", *found] if path.exists()]
        if not found:
            raise ValueError(f"no schema for the kind {kind}")
        root = json.loads(found[0].read_text())
        return self._resolved(root, root), root

    def _resolved(self, schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        return properties

    def _below(self, schema: dict[str, Any], step: str, root: dict[str, Any]) -> dict[str, Any]:
        name = step.removesuffix("[]").removesuffix("[*]")
        below = self._properties(schema).get(name)
        if below is None and isinstance(schema.get("additionalProperties"), dict):
            below = schema["additionalProperties"]
        if below is None:
            raise ValueError(f"the path has no field '{name}'")
        below = self._resolved(below, root)
        return self._resolved(below["items"], root) if step.endswith("]") else below

    def faults(self) -> list[Fault]:
        if not self._manifests:
            return []
        location = f"{self.folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        names = [str(self.folder / name) for name in self._manifests]
        command = [harness.tool("kubeconform"), "-strict", "-output", "json"]
        done = harness.attempt(*command, "-schema-location", location, *names)
        found = []
        for resource in json.loads(done.stdout)["resources"]:
            if resource["status"] == "statusValid":
                continue
            block, _ = self._manifests[pathlib.Path(resource["filename"]).name]
            message = re.sub(
                r".*jsonschema validation failed with '\S*' *-? *", "", resource["msg"]
            )
            found.append((block, message.replace("'/value", "'").strip()))
        return found


def _chart_values(value: Any, path: str) -> str | None:
    """The fault of values of the chart, if there is one."""
    for step in reversed([] if path in ("", ".") else path.split(".")):
        value = value if isinstance(value, dict) and value.keys() == {step} else {step: value}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
        json.dump(value, values)
        values.flush()
        chart = ROOT / "charts/switchyard"
        done = harness.attempt(harness.tool("helm"), "template", "any", chart, "-f", values.name)
    return " ".join(done.stderr.split()) if done.returncode != 0 else None


def _yaml(block: pages.Block, schemas: Schemas) -> list[str]:
    faults = []
    for text in _documents(block.text):
        try:
            value = _parse(text)
        except ValueError as error:
            faults.append(f"no YAML: {error}")
            continue
        if block.skip is not None:
            continue
        fragment = FRAGMENT.match(text.lstrip().split("\n", 1)[0])
        try:
            if isinstance(value, dict) and {"apiVersion", "kind"} <= value.keys():
                schemas.add(block, value)
            elif fragment and fragment[1] == "Values":
                faults += [fault] if (fault := _chart_values(value, fragment[2])) else []
            elif fragment:
                schemas.add_fragment(block, fragment[1], fragment[2], value)
            elif re.search("values|images", block.options.get("title", "")) or text.startswith(
                "# Values"
            ):
                faults += [fault] if (fault := _chart_values(value, "")) else []
            else:
                faults.append(
                    "neither a manifest nor a fragment: begin with `# KIND: path`, `# Values: path` or `# Values`"
                )
        except ValueError as error:
            faults.append(str(error))
    return faults


def _promql(block: pages.Block) -> list[str]:
    rules = {"groups": [{"name": "docs", "rules": [{"record": "docs:query", "expr": block.text}]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rules, file)
        file.flush()
        done = harness.attempt("promtool", "check", "rules", file.name)
    return [f"promtool: {done.stderr.strip()}"] if done.returncode != 0 else []


def _json(block: pages.Block) -> list[str]:
    try:
        json.loads(block.text.replace("…", ""))
    except ValueError as error:
        return [f"no JSON: {error}"]
    return []


def validate(paths: list[pathlib.Path]) -> bool:
    """Checks all blocks of these pages, prints each fault, and returns whether there is none."""
    lines: list[str] = []
    count: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="switchyard-docs-schemas.") as name:
        schemas: Schemas | None = None
        for path in paths:
            page = pages.read(path)
            lines += [
                f"{os.path.relpath(path, ROOT)}:{line}: {fault}" for line, fault in page.faults
            ]
            for block in page.blocks:
                count[block.language] = count.get(block.language, 0) + 1
                faults: list[str] = []
                if block.language in ("sh", "console"):
                    faults = _commands(block)
                elif block.language == "yaml":
                    schemas = schemas or Schemas(pathlib.Path(name))
                    faults = _yaml(block, schemas)
                elif block.language == "promql":
                    faults = _promql(block)
                elif block.language == "json":
                    faults = _json(block)
                lines += [
                    f"{os.path.relpath(path, ROOT)}:{block.line}: {fault}" for fault in faults
                ]
        for block, fault in schemas.faults() if schemas else []:
            lines.append(f"{os.path.relpath(block.path, ROOT)}:{block.line}: {fault}")
    for line in lines:
        print(line)
    listed = ", ".join(f"{number} {language}" for language, number in sorted(count.items()))
    print(f"{len(paths)} pages: {listed or 'no blocks'}; {len(lines)} faults")
    return not lines
