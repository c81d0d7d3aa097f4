"""What the commands of a page need: a scratch clone, programs, the demo, Prometheus."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]


def output(
    *command: str | pathlib.Path, cwd: pathlib.Path = ROOT, env: dict[str, str] | None = None
) -> str:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def attempt(*command: str | pathlib.Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command that may fail, and captures its output."""
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def add_toolchains() -> None:
    """Puts Go and Rust on the PATH, where e2e/prepare has installed them."""
    script = '. e2e/toolchains.sh && printf %s "$PATH"'
    os.environ["PATH"] = output("bash", "-c", script)


@functools.cache
def tool(name: str) -> str:
    return output("e2e/cluster/cluster", "tool", name).strip()


def tree(*patterns: str) -> list[str]:
    """The files of the working tree that Git does not ignore."""
    listed = output(
        *("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"),
        *("--cached", "--others", "--exclude-standard", "--deduplicate", "--", *patterns),
    ).split("\0")
    return sorted(name for name in listed if name and os.path.lexists(ROOT / name))


@contextlib.contextmanager
def scratch_clone() -> Iterator[pathlib.Path]:
    """A new repository with this one's files, as they are in the working tree.

    `git clone` would omit uncommitted changes, and refuses a repository of another user.
    """
    with tempfile.TemporaryDirectory(prefix="switchyard-docs.") as name:
        clone = pathlib.Path(name) / "switchyard"
        for path in tree():
            target = clone / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target, follow_symlinks=False)
        git = ("git", "-C", clone, "-c", "user.name=docs", "-c", "user.email=docs@localhost")
        output("git", "init", "--quiet", clone)
        output(*git, "add", "--all")
        output(*git, "commit", "--quiet", "--no-verify", "--message=Tree")
        yield clone


@contextlib.contextmanager
def programs() -> Iterator[str]:
    """A PATH on which kubectl, helm, psql and switchyard come first."""
    with tempfile.TemporaryDirectory(prefix="switchyard-docs-bin.") as name:
        folder = pathlib.Path(name)
        for each in ("kubectl", "helm"):
            (folder / each).symlink_to(pathlib.Path(tool(each)).resolve())
        (folder / "alertmanager").symlink_to("/usr/bin/prometheus-alertmanager")
        cache = (
            os.environ.get("SWITCHYARD_CACHE")
            or f"{os.environ.get('HOME', '/root')}/.cache/switchyard"
        )
        script = """
            set -e
            repository=$PWD
            . images/lib/context.sh
            programs_key
        """
        key = output("bash", "-c", script).strip()
        # The program may be missing until a page has built it.
        command = pathlib.Path(cache, "images/programs", key, "switchyard-operator")
        for each in ("switchyard", "kubectl-switchyard"):
            (folder / each).symlink_to(command)
        yield f"{folder}:{os.environ['PATH']}:/usr/lib/postgresql/15/bin:/usr/sbin"


def demo_environment(env_file: pathlib.Path) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(.*)$", env_file.read_text(), re.MULTILINE))


class Demo:
    """The running demo, as far as a page must leave it as it was."""

    KINDS = (
        "analyticsplatforms,workerpools,deployments,statefulsets,services,configmaps,secrets,"
        "networkpolicies,persistentvolumeclaims,jobs,scaledobjects"
    )

    def __init__(self, env_file: pathlib.Path, page: str) -> None:
        self._env, self._page = {**os.environ, **demo_environment(env_file)}, page

    def _get(self, *arguments: str) -> str:
        return output(tool("kubectl"), "get", "--request-timeout=60s", *arguments, env=self._env)

    def state(self) -> set[str]:
        """The namespaces that the page names, the demo's objects, the platforms' specs."""
        kinds = (
            self.KINDS
            if "scaledobjects" in self._get("crd", "-o", "name")
            else self.KINDS.removesuffix(",scaledobjects")
        )
        found = {
            name
            for name in self._get("namespaces", "-o", "name").split()
            if name.removeprefix("namespace/") in self._page
        }
        found |= {
            line
            for line in self._get(kinds, "-n", "switchyard-demo", "-o", "name").split()
            if "keda-" not in line
        }
        template = "{range .items[*]}{.kind}/{.metadata.name} {.spec}{'\\n'}{end}"
        found |= set(
            self._get(
                "analyticsplatforms", "-n", "switchyard-demo", "-o", f"jsonpath={template}"
            ).splitlines()
        )
        ready = self._get(
            "analyticsplatform",
            "demo",
            "-n",
            "switchyard-demo",
            "-o",
            "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
        )
        return found | {f"the platform demo is Ready: {ready}"}

    def changes(self, before: set[str], limit_s: float = 90.0) -> list[str]:
        """What differs from an earlier state, after up to `limit_s` for things under way."""
        end = time.monotonic() + limit_s
        while True:
            now = self.state()
            differs = [f"left behind: {each}" for each in sorted(now - before)]
            differs += [f"gone: {each}" for each in sorted(before - now)]
            if not differs or time.monotonic() > end:
                return differs
            time.sleep(1)


class _Discovery(http.server.BaseHTTPRequestHandler):
    """Service discovery for Debian's Prometheus, which is built without that of Kubernetes."""

    env: dict[str, str]

    def do_GET(self) -> None:
        done = attempt(tool("kubectl"), "get", "pods", "-A", "-o", "json", env=self.env)
        body = (
            json.dumps(_targets(json.loads(done.stdout)["items"])).encode()
            if done.returncode == 0
            else b""
        )
        self.send_response(200 if body else 502)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _targets(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The container ports of pods, with the labels of Prometheus' Kubernetes discovery."""
    found = []
    for pod in pods:
        address = pod.get("status", {}).get("podIP")
        common = {
            "__meta_kubernetes_namespace": pod["metadata"]["namespace"],
            "__meta_kubernetes_pod_name": pod["metadata"]["name"],
            "__meta_kubernetes_pod_phase": pod.get("status", {}).get("phase", ""),
        }
        for name, value in pod["metadata"].get("labels", {}).items():
            common["__meta_kubernetes_pod_label_" + re.sub(r"[^A-Za-z0-9]", "_", name)] = value
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", []) if address else []:
                labels = common | {
                    "__meta_kubernetes_pod_container_port_name": port.get("name", "")
                }
                found.append({"targets": [f"{address}:{port['containerPort']}"], "labels": labels})
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def prometheus(env_file: pathlib.Path, started: float = 60.0) -> Iterator[dict[str, str]]:
    """Prometheus with monitoring/prometheus.yaml and the rules, and an Alertmanager.

    Yields PROMETHEUS and ALERTMANAGER, their URLs, once two scrapes of each target succeeded.
    """
    handler = type("Handler", (_Discovery,), {"env": {**os.environ, **demo_environment(env_file)}})
    discovery = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=discovery.serve_forever, daemon=True).start()
    ports = _free_port(), _free_port()
    urls = {
        "PROMETHEUS": f"http://127.0.0.1:{ports[0]}",
        "ALERTMANAGER": f"http://127.0.0.1:{ports[1]}",
    }
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="switchyard-docs-prometheus.") as name:
        folder = pathlib.Path(name)
        config = (ROOT / "monitoring/prometheus.yaml").read_text()
        config = config.replace(
            "kubernetes_sd_configs:\n      - role: pod\n",
            f"http_sd_configs:\n      - url: http://127.0.0.1:{discovery.server_port}/\n        refresh_interval: 5s\n",
        )
        config = config.replace("interval: 30s", "interval: 2s").replace(
            "alertmanager:9093", f"127.0.0.1:{ports[1]}"
        )
        (folder / "prometheus.yaml").write_text(config)
        shutil.copy(ROOT / "monitoring/switchyard.rules.yaml", folder)
        (folder / "alertmanager.yaml").write_text(
            "route: {receiver: none, group_by: ['...'], group_wait: 1s}\nreceivers: [{name: none}]\n"
        )
        commands = (
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yaml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{ports[0]}",
                "--enable-feature=exemplar-storage",
            ],
            [
                "prometheus-alertmanager",
                f"--config.file={folder}/alertmanager.yaml",
                f"--storage.path={folder}/alerts",
                f"--web.listen-address=127.0.0.1:{ports[1]}",
                "--cluster.listen-address=",
            ],
        )
        try:
            for command in commands:
                log = (folder / f"{command[0]}.log").open("wb")
                children.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
                    )
                )
            end = time.monotonic() + started
            while not _scraped(urls["PROMETHEUS"]):
                if time.monotonic() > end:
                    raise RuntimeError(
                        f"Prometheus scrapes no worker:\n{(folder / 'prometheus.log').read_text()}"
                    )
                time.sleep(1)
            yield urls
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
            discovery.shutdown()


def _scraped(url: str) -> bool:
    query = "count(count_over_time(up%7Bworkload%3D~%22.%2B%22%7D%5B5m%5D)%20%3E%3D%202)"
    try:
        address = f"{url}/api/v1/query?query={query}"
        with urllib.request.urlopen(address, timeout=5) as response:  # noqa: S310, it is http
            result = json.load(response)["data"]["result"]
    except OSError:
        return False
    return bool(result) and int(result[0]["value"][1]) >= 5
