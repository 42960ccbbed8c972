"""Azure's own client as a module: asks for its twin, reports, answers one input and one method, and leaves.

    azure_module.py PORT MESSAGE [websocket]       # the environment is that of a module; the hub listens on PORT
MESSAGE is JSON: {"body": text, "properties": [[name, value], ...]}, sent as the answer to the input.
"""

import json
import sys
import threading

import paho.mqtt.client
from azure.iot.device import IoTHubModuleClient, Message, MethodResponse

PORT, MESSAGE = int(sys.argv[1]), json.loads(sys.argv[2])
LIMIT = 60

# The port is the only thing that is not as Azure's client has it: 8883 may be in use.
connect = paho.mqtt.client.Client.connect
paho.mqtt.client.Client.connect = lambda self, host, port, **more: connect(self, host=host, port=PORT, **more)


def message():
    """The message as this client wants it said."""
    properties = dict(MESSAGE["properties"])
    sent = Message(
        MESSAGE["body"],
        message_id=properties.pop("$.mid"),
        content_type=properties.pop("$.ct"),
        content_encoding=properties.pop("$.ce"),
        output_name=properties.pop("$.on"),
    )
    sent.correlation_id = properties.pop("$.cid")
    sent.custom_properties = properties
    return sent


def main():
    """Does what a module does."""
    client = IoTHubModuleClient.create_from_edge_environment(websockets=sys.argv[3:] == ["websocket"])
    came, called = threading.Event(), threading.Event()
    client.on_message_received = lambda _: came.set()

    def answer(request):
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, {"version": "reference"}))
        called.set()

    client.on_method_request_received = answer
    client.on_twin_desired_properties_patch_received = lambda _: None
    client.connect()
    client.get_twin()
    client.patch_twin_reported_properties({"ready": True})
    if not came.wait(LIMIT):
        sys.exit("no input came")
    answered = message()
    client.send_message_to_output(answered, answered.output_name)
    if not called.wait(LIMIT):
        sys.exit("no method was called")
    client.shutdown()


main()
