"""An app in Python that says who served it, as the one in runtime/app does.

componentize-py makes a component of it, and `wit` is any copy of the interfaces of wasi:http 0.2:

    componentize-py -d wit -w wasi:http/proxy@0.2.0 componentize app -o app.wasm
    ansible-playbook playbooks/release.yml -e app_version=2.0.0 -e app_wasm=app.wasm

An instance answers one request, as with any app that says nothing of it: one of
componentize-py 0.25 may end in a trap at a later one.
"""

import os

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

IDENTITY = {"x-served-by": "SERVED_BY", "x-release": "RELEASE", "x-instance": "INSTANCE"}


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        headers = [
            (header, os.environ[variable].encode())
            for header, variable in IDENTITY.items()
            if variable in os.environ
        ]
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain"), *headers]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(b"Hello from Python")
        OutgoingBody.finish(body, None)
