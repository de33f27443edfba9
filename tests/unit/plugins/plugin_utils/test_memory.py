# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.multicompute.spin.plugins.plugin_utils import memory, warm
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import AwsError, FakeAws

READ = memory.Read("ec2", "eu-central-1", "http://api", "DescribeVpcs", {"VpcIds": ["a"]}, "digest")
ENDED = {"rc": 0, "stdout": '{"changed": false}', "stderr": ""}
KNOWN = memory.Memory("key", ENDED, [READ], {"/etc/hosts": "digest"}, {"/module.py": [1, 2]})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> memory.Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return memory.Store(["tasks.yml", "host"])


def test_what_is_stored_is_found_again_and_readable_by_this_user_alone(
    store: memory.Store, tmp_path: Path
) -> None:
    store.save({"Create": KNOWN})
    assert memory.Store(["tasks.yml", "host"]).load() == {"Create": KNOWN}
    assert memory.Store(["tasks.yml", "other"]).load() == {}
    assert store.path.is_relative_to(tmp_path)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert [file.name for file in store.path.parent.iterdir()] == [store.path.name]


def _sealed(content: str) -> bytes:
    return f"{memory.hashlib.sha256(content.encode()).hexdigest()}\n{content}".encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b'"changed', b'"Changed'),
        lambda whole: os.urandom(4096),
        lambda whole: _sealed("[]"),
        lambda whole: _sealed('{"Create": {"key": "of a later version"}}'),
        lambda whole: _sealed('{"Create": 1}'),
        lambda whole: _sealed("no JSON"),
    ],
)
def test_a_damaged_or_foreign_file_is_as_none(
    store: memory.Store, damage: Callable[[bytes], bytes]
) -> None:
    assert store.load() == {}
    store.save({"Create": KNOWN})
    store.path.write_bytes(damage(store.path.read_bytes()))
    assert store.load() == {}
    store.save({"Create": KNOWN})
    assert store.load() == {"Create": KNOWN}


def test_a_place_that_cannot_be_written_is_no_error(store: memory.Store) -> None:
    store.path.parent.parent.write_text("a file where the folder should be")
    store.save({"Create": KNOWN})
    assert store.load() == {}


def test_of_two_writers_one_is_found_whole(store: memory.Store) -> None:
    def write(_send: warm.Send, name: str) -> None:
        for _ in range(100):
            store.save({name * 500: KNOWN})

    writers = [warm.start_fork(write, name)[1] for name in "ab"]
    found = set()
    while any(writer.is_alive() for writer in writers):
        found |= store.load().keys()
        # A half-written file would be none.
        assert found == set() or store.load()
    assert found <= {"a" * 500, "b" * 500}
    assert len(store.load()) == 1


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


KeyArguments = dict[str, Any]


def _key(arguments: KeyArguments = {}, environment: dict[str, str] = {}) -> str:  # noqa: B006
    return memory.key_of("amazon.aws.ec2_vpc_net", arguments, environment)


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, aws: _key({"name": "other"}),
        lambda patch, aws: _key({"_ansible_check_mode": True}),
        lambda patch, aws: _key({}, {"ANY": "thing"}),
        lambda patch, aws: memory.key_of("amazon.aws.ec2_vpc_subnet", {}, {}),
        *(
            lambda patch, aws, name=name: (patch.setenv(name, "other"), _key())[1]
            for name in (
                *("AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_EC2"),
                *("https_proxy", "HTTPS_PROXY", "HOME"),
            )
        ),
        lambda patch, aws: ((aws / "config").write_text("[default]"), _key())[1],
        lambda patch, aws: ((aws / "credentials").write_text("[default]"), _key())[1],
        lambda patch, aws: (patch.setattr(memory.sys, "version", "4"), _key())[1],
        lambda patch, aws: (patch.setattr(memory, "ansible_version", "4"), _key())[1],
        lambda patch, aws: (patch.setattr(memory.botocore, "__version__", "4"), _key())[1],
    ],
)
def test_the_key_changes_with_all_that_the_result_follows_from(
    monkeypatch: pytest.MonkeyPatch,
    aws_files: Path,
    change: Callable[[pytest.MonkeyPatch, Path], str],
) -> None:
    before = _key()
    assert change(monkeypatch, aws_files) != before


def test_the_key_stays_when_nothing_matters(
    monkeypatch: pytest.MonkeyPatch, aws_files: Path
) -> None:
    before = _key()
    monkeypatch.setenv("TERM", "other")
    assert _key({"_ansible_tmpdir": "/tmp/other"}) == before


def test_what_is_known_of_other_arguments_is_forgotten(aws_files: Path) -> None:
    known = dataclasses.replace(KNOWN, key=_key({"name": "a"}))
    arguments = ("amazon.aws.ec2_vpc_net", {"name": "a"}, {})
    assert memory.recall(known, *arguments) == ENDED
    with pytest.raises(memory.Forgotten):
        memory.recall(known, "amazon.aws.ec2_vpc_net", {"name": "b"}, {})
    with pytest.raises(memory.Forgotten):
        memory.recall(known, *arguments[:2], {"AWS_REGION": "other"})


Heard = tuple[bool, list[memory.Read], dict[str, str]]


def _heard(deed: Callable[[], Any]) -> Heard:
    recording = memory.Recording()
    recording.watch()
    with contextlib.suppress(Exception):
        deed()
    return recording.only_reads, recording.reads, recording.files


def heard(deed: Callable[[], Any]) -> Heard:
    """What is recorded of a deed; in a fork, since the hook stays as long as its process."""
    return warm.in_fork(_heard, deed)


def _ec2() -> Any:
    return boto3.client("ec2")


VPCS = {"Vpcs": [{"VpcId": "vpc-1"}]}


def test_reads_are_recorded_with_the_digest_of_the_answer(aws: FakeAws) -> None:
    aws.on("ec2.DescribeVpcs", VPCS)
    only_reads, reads, _files = heard(lambda: _ec2().describe_vpcs(VpcIds=["vpc-1"]))
    expected = memory.Read(
        "ec2",
        "eu-central-1",
        "https://ec2.eu-central-1.amazonaws.com",
        "DescribeVpcs",
        {"VpcIds": ["vpc-1"]},
        memory.digest(VPCS),
    )
    assert (only_reads, reads) == (True, [expected])


def test_credentials_fetched_for_a_read_are_not_part_of_it(aws: FakeAws) -> None:
    aws.on("sts.AssumeRole", {"PackedPolicySize": 0})

    def answer(_request: Any) -> dict[str, Any]:
        role = {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "session"}
        boto3.client("sts").assume_role(**role)
        return VPCS

    aws.on("ec2.DescribeVpcs", answer)
    only_reads, reads, _files = heard(lambda: _ec2().describe_vpcs())
    assert (only_reads, [read.operation for read in reads]) == (True, ["DescribeVpcs"])


def test_a_refused_read_is_remembered_by_its_code(aws: FakeAws) -> None:
    aws.on("ec2.DescribeVpcs", AwsError("InvalidVpcID.NotFound"))
    only_reads, reads, _files = heard(lambda: _ec2().describe_vpcs())
    assert (only_reads, [read.answer for read in reads]) == (True, ["InvalidVpcID.NotFound"])


@pytest.mark.parametrize(
    "call",
    [
        lambda: _ec2().create_vpc(CidrBlock="10.0.0.0/16"),
        lambda: _ec2().describe_vpcs(DryRun=True),
        lambda: _ec2().delete_vpc(VpcId="vpc-1"),
        lambda: boto3.client("s3").list_buckets(),  # not prepared: the call breaks
    ],
)
def test_a_call_that_is_no_plain_read_is_not_only_reading(
    aws: FakeAws, call: Callable[[], Any]
) -> None:
    aws.on("ec2.DescribeVpcs", VPCS)
    aws.on("ec2.CreateVpc", {})
    aws.on("ec2.DeleteVpc", {})
    assert heard(call)[0] is False


@pytest.mark.parametrize(
    "deed",
    [
        lambda path: subprocess.run(["true"], check=False),
        lambda path: os.system("true"),
        lambda path: os.fork() or os._exit(0),
        lambda path: os.posix_spawn("/bin/true", ["true"], {}),
        lambda path: (path / "new").write_text("x"),
        lambda path: (path / "file").open("a").close(),
        lambda path: os.open(path / "file", os.O_RDWR),
        lambda path: (path / "file").unlink(),
        lambda path: (path / "file").rename(path / "new"),
        lambda path: (path / "file").chmod(0o600),
        lambda path: (path / "new").mkdir(),
        lambda path: (path / "new").symlink_to(path),
        lambda path: os.truncate(path / "file", 0),
        lambda path: os.utime(path / "file"),
        lambda path: shutil.copy(path / "file", path / "new"),
        lambda path: os.listdir(path),
        lambda path: list(path.glob("*")),
        lambda path: socket.create_connection(("127.0.0.1", 1)),
        lambda path: socket.socket().bind(("127.0.0.1", 0)),
        lambda path: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 1)),
    ],
)
def test_what_does_more_than_to_read_is_heard(tmp_path: Path, deed: Callable[[Path], Any]) -> None:
    (tmp_path / "file").touch()
    assert heard(lambda: None)[0] is True
    assert heard(lambda: deed(tmp_path))[0] is False


def test_files_read_are_known_by_digest_but_not_those_of_code(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("{}")
    (tmp_path / "plugin.py").write_text("1")

    def read() -> None:
        (tmp_path / "policy.json").read_text()
        (tmp_path / "plugin.py").read_text()
        Path(pytest.__file__).read_text()
        Path(os.devnull).open("w").close()
        with contextlib.suppress(OSError):
            (tmp_path / "missing").read_text()

    only_reads, _reads, files = heard(read)
    assert only_reads
    assert files == {
        str(tmp_path / "policy.json"): memory.hashlib.sha256(b"{}").hexdigest(),
        str(tmp_path / "missing"): "FileNotFoundError",
    }


def test_code_that_is_imported_for_the_first_time_is_no_deed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_first.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    only_reads, _reads, _files = heard(lambda: importlib.import_module("imported_first"))
    assert only_reads
    assert list((tmp_path / "__pycache__").iterdir())


def test_a_file_that_was_looked_for_and_not_there_is_known(tmp_path: Path) -> None:
    _only_reads, _reads, files = heard(lambda: (tmp_path / "optional").exists())
    assert files == {str(tmp_path / "optional"): "FileNotFoundError"}


def _remembered(
    arguments: dict[str, Any] | None = None, ended: dict[str, Any] | None = None, **said: Any
) -> memory.Memory | None:
    recording = memory.Recording(**{"reads": [READ], **said})
    return recording.memory("key", arguments or {"name": "a"}, ended or ENDED)


@pytest.mark.parametrize(
    "given",
    [
        *({"arguments": {name: "secret"}} for name in sorted(memory.CREDENTIALS)),
        {"arguments": {"_ansible_no_log": True}},
        {"ended": {**ENDED, "stdout": '{"changed": true}'}},
        {"ended": {**ENDED, "stdout": '{"changed": false, "failed": true}'}},
        {"ended": {**ENDED, "stdout": "no JSON"}},
        {"ended": {**ENDED, "rc": 1}},
        {"reads": []},
        {"only_reads": False},
    ],
)
def test_what_is_not_remembered(given: dict[str, Any]) -> None:
    known = _remembered({"access_key": None, "_ansible_no_log": False})
    assert known is not None and (known.key, known.ended, known.reads) == ("key", ENDED, [READ])
    assert _remembered(**given) is None


def _same(known: memory.Memory) -> bool:
    answers: list[tuple[str, bool]] = []
    memory.read_again(answers.append, {"node": known}, {})
    assert [name for name, _same in answers] == ["node"]
    return answers[0][1]


@pytest.fixture
def known(aws: FakeAws, tmp_path: Path) -> memory.Memory:
    """Of a real module that read one VPC, and of a file."""
    (tmp_path / "file").write_text("content")
    aws.on("ec2.DescribeVpcs", {"Vpcs": [{"VpcId": "vpc-1", "Tags": []}]})
    attributes = {"EnableDnsSupport": {"Value": True}, "EnableDnsHostnames": {"Value": True}}
    aws.on("ec2.DescribeVpcAttribute", attributes)
    ended, known = warm.in_fork(memory.run_and_record, "amazon.aws.ec2_vpc_net_info", {}, {})
    assert json.loads(ended["stdout"])["vpcs"][0]["id"] == "vpc-1"
    assert known.ended == ended and known.code
    read = [read for read in known.reads if read.operation == "DescribeVpcs"]
    file = {str(tmp_path / "file"): memory.digest_of_file(str(tmp_path / "file"))}
    return dataclasses.replace(known, reads=read, files=file)


@pytest.mark.parametrize(
    "drift",
    [
        lambda aws, path: aws.on("ec2.DescribeVpcs", {"Vpcs": []}),
        lambda aws, path: aws.on("ec2.DescribeVpcs", AwsError("UnauthorizedOperation")),
        lambda aws, path: aws.on("ec2.DescribeVpcs", lambda _request: {}["broken"]),
        lambda aws, path: (path / "file").write_text("CONTENT"),
        lambda aws, path: (path / "file").unlink(),
    ],
)
def test_it_is_the_same_only_while_all_that_was_read_is(
    aws: FakeAws,
    known: memory.Memory,
    tmp_path: Path,
    drift: Callable[[FakeAws, Path], Any],
) -> None:
    assert _same(known)
    drift(aws, tmp_path)
    assert not _same(known)


def test_it_is_not_the_same_with_other_code(known: memory.Memory, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("1")
    known = dataclasses.replace(known, code={str(module): warm.size_and_time(str(module))})
    assert _same(known)
    module.write_text("2 ")
    assert not _same(known)
    module.unlink()
    assert not _same(known)


def test_code_that_is_edited_while_it_runs_is_not_taken_for_what_ran(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.on("ec2.DescribeVpcs", {"Vpcs": []})
    file = tmp_path / "edited.py"
    # To open it later would be a deed of the module's.
    with file.open("w") as editor:

        def main() -> None:
            boto3.client("ec2", region_name="eu-central-1").describe_vpcs()
            os.write(editor.fileno(), b"edited")
            print(json.dumps({"changed": False}))
            sys.exit(0)

        edited = types.ModuleType(warm.python_name("test.reads.edited"))
        vars(edited).update(__file__=str(file), main=main)
        monkeypatch.setitem(sys.modules, edited.__name__, edited)
        warm.load_module("test.reads.edited")
        _ended, known = warm.in_fork(memory.run_and_record, "test.reads.edited", {}, {})
    assert file.read_text() == "edited"
    assert known.code[str(file)][0] == 0
    assert not _same(known)
