"""Image, compose file and cluster manifests: nothing here runs them, so they are held to their schemas and to one another."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.without_cuda import without_cuda
from odconv.version import __version__

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
CLUSTER = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8"))}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
POD = CLUSTER["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "command",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"],
        ["check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff"],
        ["kubernetes-validate", "--strict", "deploy/kubernetes.yaml"],
        ["hadolint", "Dockerfile"],
    ],
    ids=lambda command: command[-1],
)
def test_files_for_other_programs_are_what_their_schemas_say(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_all_that_the_app_needs_and_what_is_copied_is_let_through():
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    needed = {"app.py", "pages", "odconv", "assets", ".streamlit", "LICENSE", "NOTICE", "requirements.lock"}
    assert needed <= copied
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(path == name or path.startswith(f"{name}/") for path in let_through), name


def test_nothing_has_root_or_a_way_to_get_it_and_nothing_is_written_but_to_tmp():
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]) == tuple(map(int, user.groups()))
    assert POD["securityContext"]["runAsNonRoot"] is True
    container = POD["containers"][0]["securityContext"]
    assert (container["readOnlyRootFilesystem"], container["allowPrivilegeEscalation"]) == (True, False)
    assert container["capabilities"]["drop"] == ["ALL"]
    assert [mount["mountPath"] for mount in POD["containers"][0]["volumeMounts"]] == ["/tmp"]
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {mount.partition(":")[0] for mount in service["tmpfs"]} == {"/tmp"}


def test_the_app_has_no_way_out_at_run_time():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert COMPOSE["services"]["app"]["networks"] == ["inside"]
    assert CLUSTER["NetworkPolicy"]["spec"]["egress"] == []
    assert "Egress" in CLUSTER["NetworkPolicy"]["spec"]["policyTypes"]


def test_a_visitor_stays_with_a_process_by_the_same_cookie_everywhere():
    proxy = (ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8")
    annotations = CLUSTER["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/affinity"] == "cookie"
    assert f"cookie {annotations['nginx.ingress.kubernetes.io/session-cookie-name']} insert" in proxy


def test_the_cheap_check_is_asked_again_and_again_and_the_one_that_runs_a_page_once_from_inside():
    container = POD["containers"][0]
    assert "script-health-check" in container["startupProbe"]["exec"]["command"][-1]
    for probe in ("readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] == "/_stcore/health"
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]  # the app answers to its own names
    assert "script-health-check" not in DOCKERFILE
    hosts = {entry["name"]: entry.get("value") for entry in container["env"]}["STREAMLIT_SERVER_ALLOWED_HOSTS"]
    assert hosts.split() == [CLUSTER["Ingress"]["spec"]["rules"][0]["host"], "localhost"]


def test_visitors_have_time_to_leave_and_one_process_is_always_there():
    wait = int(POD["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["terminationGracePeriodSeconds"] > wait
    assert (
        CLUSTER["PodDisruptionBudget"]["spec"]["minAvailable"]
        < CLUSTER["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    )
    labels = CLUSTER["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert CLUSTER[kind]["spec"]["selector"]["matchLabels"] == labels
    assert (
        CLUSTER["Service"]["spec"]["selector"]
        == CLUSTER["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
        == labels
    )


def test_photos_pass_the_ingress():
    most = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["server"]["maxUploadSize"]
    assert int(CLUSTER["Ingress"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"][:-1]) > most


def test_all_say_the_same_version():
    images = {COMPOSE["services"]["app"]["image"], POD["containers"][0]["image"]}
    assert images == {f"odconv-explorer:{__version__}"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


# --- the lock file --------------------------------------------------------------------------------------------------------


def entries(lock):
    return re.findall(
        r"^([a-z0-9.-]+)==(\S+)(?: ; [^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.M
    )


def test_the_lock_has_a_version_in_range_with_hashes_for_all_that_is_required():
    locked = {}
    for name, version, _hashes in entries(LOCK):
        locked.setdefault(name, []).append(version)
    assert len(entries(LOCK)) == len(re.findall(r"^[a-z0-9]", LOCK, re.M))  # none is without a hash
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        required = Requirement(line)
        assert locked[required.name]
        assert all(required.specifier.contains(version) for version in locked[required.name]), line


def test_the_image_takes_the_torch_of_the_lock_and_nothing_for_gpus():
    torch = dict((name, version) for name, version, _ in entries(LOCK))["torch"]
    assert f"torch=={torch}\n" in DOCKERFILE.replace(" \\", "")
    for_cpus = without_cuda(LOCK)
    gone = {name for name, *_ in entries(LOCK)} - {name for name, *_ in entries(for_cpus)}
    assert {"torch", "triton"} <= gone
    assert {name for name in gone if not name.startswith(("nvidia-", "cuda-"))} == {"torch", "triton"}
    assert "nvidia" not in re.sub(r"#.*", "", for_cpus)
    assert {"numpy", "streamlit", "sympy"} <= {name for name, *_ in entries(for_cpus)}
