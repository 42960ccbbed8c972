"""Reads what a collector of traces got, with OpenTelemetry's own messages, and prints its spans as JSON.

    python otlp_spans.py FILE ...    # each an ExportTraceServiceRequest
"""

import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def attributes(given):
    """Returns attributes as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in given}


def spans(message):
    """Yields the spans of one message, each with the name of the service."""
    assert not message.FindInitializationErrors()
    for resource in message.resource_spans:
        service = attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "service": service["service.name"],
                    "scope": scope.scope.name,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                    "status": span.status.code,
                    "message": span.status.message,
                    "flags": span.flags,
                }


def main():
    """Prints the spans of the files on the command line."""
    found = []
    for name in sys.argv[1:]:
        with open(name, "rb") as file:
            found.extend(spans(ExportTraceServiceRequest.FromString(file.read())))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
