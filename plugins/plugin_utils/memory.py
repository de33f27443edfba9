# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembers, of modules that changed nothing, what they read, so that the next run reads only that.

What a module answers follows from its code, its arguments, its environment, the files that it reads
and the answers of AWS. Where all of them are what they were, so is the result, and the module need
not run. Nothing is believed that was not read again in this run: the memory is a cache, and may be
lost at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ansible.release import __version__ as ansible_version
from ansible_collections.multicompute.spin.plugins.plugin_utils import warm

try:
    import boto3
    import botocore
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError
    from botocore.response import StreamingBody
except ImportError:
    boto3 = None

READS = ("Describe", "List", "Get", "Head", "BatchGet", "Search", "Lookup", "Filter")
# Reads of one run that are under way at the same time.
READERS = 16
# Whoever authenticates by arguments would have to be remembered with its secrets.
CREDENTIALS = {
    *("access_key", "aws_access_key", "aws_access_key_id", "ec2_access_key"),
    *("secret_key", "aws_secret_key", "aws_secret_access_key", "ec2_secret_key"),
    *("session_token", "aws_session_token", "aws_security_token", "security_token", "access_token"),
    *("profile", "aws_profile"),
}
# Beyond AWS_*, what decides whom a module asks and how.
ENVIRONMENT = {
    "HOME",
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
}
# A module that does one of these does more than to read from AWS.
DEEDS = (
    *("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "pty.", "shutil."),
    *(
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
    ),
    *("os.truncate", "os.utime", "socket.bind", "socket.sendto", "sqlite3."),
)
# Folders of Python and of what is installed for it.
PLACES_OF_CODE = tuple(
    os.path.join(place, "")
    for name, place in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


class Forgotten(BaseException):
    """The task has to run: what is remembered of it is of other arguments, or not all that it does.

    No Exception, since Ansible would make a failed task of that.
    """


@dataclass(frozen=True)
class Read:
    service: str
    region: str
    endpoint: str
    operation: str
    parameters: dict[str, Any]
    answer: str


@dataclass(frozen=True)
class Memory:
    """Of one node: how its module ended, and all that this follows from."""

    key: str
    ended: warm.Ended
    reads: list[Read]
    # Digest of each file that it read.
    files: dict[str, str]
    # Size and time of each file of its code.
    code: dict[str, list[int]]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Memory:
        return cls(**{**value, "reads": [Read(**read) for read in value["reads"]]})


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_file(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__


def key_of(module_fqcn: str, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Same for two runs with the same arguments for the same account and region."""
    settings = {
        name: value
        for name, value in {**os.environ, **environment}.items()
        if name.startswith("AWS_") or name.upper() in ENVIRONMENT
    }
    aws_files = [
        digest_of_file(os.path.expanduser(settings.get(name, default)))
        for name, default in (
            ("AWS_CONFIG_FILE", "~/.aws/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        )
    ]
    given = {name: value for name, value in arguments.items() if name != "_ansible_tmpdir"}
    versions = [sys.version, ansible_version, botocore.__version__]
    return digest([module_fqcn, given, dict(environment), settings, aws_files, versions])


def _answer(response: dict[str, Any]) -> str:
    said = {name: value for name, value in response.items() if name != "ResponseMetadata"}
    if "ETag" in said:
        # The tag stands for the content, which is left to the module to read.
        said = {name: value for name, value in said.items() if not isinstance(value, StreamingBody)}
    return digest(said)


@dataclass
class Recording:
    """What the module that runs in this process does."""

    reads: list[Read] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    only_reads: bool = True
    calling: bool = False

    def watch(self) -> None:
        """From here to the end of the process."""
        call = BaseClient._make_api_call
        recording = self

        def watched(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            if recording.calling:
                # Credentials are fetched while a call is signed; they are no answer to the module.
                return call(client, operation, parameters)
            recording.calling = True
            try:
                answer = None
                response = call(client, operation, parameters)
                answer = _answer(response)
                return response
            except ClientError as error:
                answer = error.response["Error"]["Code"]
                raise
            finally:
                recording.calling = False
                recording.add(client, operation, parameters, answer)

        look = os.stat

        @functools.wraps(look)
        def looked(path: Any, **options: Any) -> os.stat_result:
            try:
                return look(path, **options)
            except FileNotFoundError:
                recording.hear_open(path, "r", os.O_RDONLY)
                raise

        BaseClient._make_api_call = watched
        # A file that is not there is not opened, and no event tells that it was looked for.
        os.stat = looked
        sys.addaudithook(self.hear)

    def add(
        self, client: Any, operation: str, parameters: dict[str, Any], answer: str | None
    ) -> None:
        plain = answer is not None and operation.startswith(READS) and not parameters.get("DryRun")
        with contextlib.suppress(TypeError):
            if plain and json.loads(json.dumps(parameters)) == parameters:
                meta = client.meta
                self.reads.append(
                    Read(
                        meta.service_model.service_name,
                        meta.region_name,
                        meta.endpoint_url,
                        operation,
                        parameters,
                        str(answer),
                    )
                )
                return
        self.only_reads = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            self.hear_open(*arguments)
        elif event in ("os.listdir", "os.scandir"):
            # Where Python looks for what is imported, it lists the folder first.
            imports = _is_code(arguments[0]) or arguments[0] in sys.path_importer_cache
            self.only_reads = self.only_reads and imports
        elif event.startswith(DEEDS) or (event == "socket.connect" and not self.calling):
            # Python keeps the compiled code of what is imported for the first time.
            self.only_reads = self.only_reads and bool(arguments) and _is_bytecode(arguments[0])

    def hear_open(self, path: Any, _mode: Any, flags: int) -> None:
        if isinstance(path, int) or path == os.devnull or _is_code(path):
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.only_reads = False
        elif (name := os.path.abspath(os.fsdecode(path))) not in self.files:
            # Reading it is heard as well, and then known.
            self.files[name] = ""
            self.files[name] = digest_of_file(name)

    def memory(self, key: str, arguments: Mapping[str, Any], ended: warm.Ended) -> Memory | None:
        """What to remember, if nothing but reading led to an unchanged result."""
        secret = {*CREDENTIALS, "_ansible_no_log"}
        if not (self.only_reads and self.reads) or any(arguments.get(name) for name in secret):
            return None
        try:
            said = json.loads(ended["stdout"])
        except ValueError:
            return None
        if said.get("changed") or said.get("failed") or ended["rc"]:
            return None
        return Memory(key, ended, self.reads, self.files, warm.loaded_code())


def _is_code(path: Any) -> bool:
    name = _absolute(path)
    return name.endswith((".py", ".pyc")) or name.startswith(PLACES_OF_CODE) or _is_bytecode(path)


def _is_bytecode(path: Any) -> bool:
    return f"{os.sep}__pycache__" in _absolute(path)


def _absolute(path: Any) -> str:
    known = isinstance(path, str | bytes | os.PathLike)
    return os.path.abspath(os.fsdecode(path)) if known else "."


def read_again(
    send: warm.Send, memories: Mapping[str, Memory], environment: dict[str, str]
) -> None:
    """Sends, for each name as it is known, whether all that was read still reads the same."""
    os.environ.update(environment)
    session = boto3.session.Session()

    @functools.cache
    def client(service: str, region: str, endpoint: str) -> Any:
        return session.client(service, region_name=region, endpoint_url=endpoint)

    def same(read: Read) -> bool:
        asked = client(read.service, read.region, read.endpoint)
        try:
            return read.answer == _answer(asked._make_api_call(read.operation, read.parameters))
        except ClientError as error:
            return read.answer == error.response["Error"]["Code"]

    def check(name: str, memory: Memory) -> None:
        try:
            good = (
                all(warm.size_and_time(path) == was for path, was in memory.code.items())
                and all(digest_of_file(path) == was for path, was in memory.files.items())
                and all(same(read) for read in memory.reads)
            )
        except Exception:
            # Whatever is wrong, the module will meet it and say it.
            good = False
        send((name, good))

    with ThreadPoolExecutor(READERS) as readers:
        for name, memory in memories.items():
            # Clients serve many threads, but are not made by many.
            for read in memory.reads:
                client(read.service, read.region, read.endpoint)
            readers.submit(check, name, memory)


@contextlib.contextmanager
def reading_again(
    memories: Mapping[str, Memory], environment: dict[str, str]
) -> Iterator[Connection | None]:
    """A process that does so, as long as its answers are wanted; none if nothing is remembered."""
    if not memories:
        yield None
        return
    answers, process = warm.start_fork(read_again, memories, environment)
    try:
        yield answers
    finally:
        process.terminate()
        process.join()
        answers.close()


def forget() -> None:
    raise Forgotten


def recall(
    memory: Memory, fqcn: str, arguments: dict[str, Any], environment: dict[str, str]
) -> warm.Ended:
    """What the module ended with, if it is the same run."""
    if key_of(fqcn, arguments, environment) != memory.key:
        raise Forgotten
    return memory.ended


def run_and_record(
    fqcn: str, arguments: dict[str, Any], environment: dict[str, str]
) -> tuple[warm.Ended, Memory | None]:
    """Runs the module in this process; gives what it ended with, and what to remember of it."""
    if boto3 is None:
        return warm.run_main(fqcn, arguments, environment), None
    key = key_of(fqcn, arguments, environment)
    recording = Recording()
    recording.watch()
    ended = warm.run_main(fqcn, arguments, environment)
    return ended, recording.memory(key, arguments, ended)


class Store:
    """The memories of one graph in a file that only this user reads."""

    def __init__(self, identity: Any) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.path = Path(base, "multicompute.spin", "task-graph", digest(identity)[:32])

    def load(self) -> dict[str, Memory]:
        """Memories by the node's name; none if the file is missing or not as it was written."""
        if boto3 is None:
            return {}
        try:
            checksum, _newline, content = self.path.read_text().partition("\n")
            if hashlib.sha256(content.encode()).hexdigest() != checksum:
                return {}
            return {name: Memory.from_json(value) for name, value in json.loads(content).items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def save(self, memories: Mapping[str, Memory]) -> None:
        """Replaces the file in one step: another run finds the old one or this, never half."""
        content = json.dumps({name: asdict(memory) for name, memory in memories.items()})
        checksum = hashlib.sha256(content.encode()).hexdigest()
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._replaced() as file:
                file.write(f"{checksum}\n{content}")

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[Any]:
        # mkstemp gives it mode 0600.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                yield file
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise
