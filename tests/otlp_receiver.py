"""An OTLP receiver made of OpenTelemetry's own messages: prints every span that is posted to it as one line of JSON.

The first line says where it listens: {"address": "127.0.0.1:4318"}. It ends when its standard input does.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

PRINTING = threading.Lock()


def tell(value):
    with PRINTING:
        print(json.dumps(value), flush=True)


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def spans(message):
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": trace.Span.SpanKind.Name(span.kind),
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex().strip("0") and span.parent_span_id.hex(),
                    "begins": span.start_time_unix_nano,
                    "ends": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "status": trace.Status.StatusCode.Name(span.status.code),
                    "message": span.status.message,
                    "resource": attributes(resource.resource.attributes),
                }


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            tell({"wrong": [self.path, self.headers["content-type"]]})
            self.send_error(404)
            return
        for span in spans(service.ExportTraceServiceRequest.FromString(body)):
            tell(span)
        answer = service.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
tell({"address": "127.0.0.1:%d" % server.server_port})
sys.stdin.read()
