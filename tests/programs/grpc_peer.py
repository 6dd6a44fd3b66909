"""gRPC over TLS by grpcio, which is linked with BoringSSL.

    grpc_peer.py server PORT CERTIFICATE KEY
    grpc_peer.py client PORT CERTIFICATE COUNT

The client makes a call on a connection of its own, so many times.
"""

import sys
from concurrent import futures

import grpc

METHOD = "/test.Echo/Say"


class Echo(grpc.GenericRpcHandler):
    """Answers every call with what it was sent."""

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def serve(port, certificate, key):
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Echo()])
    credentials = grpc.ssl_server_credentials([(read(key), read(certificate))])
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    server.wait_for_termination()


def call(port, certificate, count):
    credentials = grpc.ssl_channel_credentials(read(certificate))
    # Channels to one server share their connection otherwise.
    options = [("grpc.use_local_subchannel_pool", 1)]
    for number in range(int(count)):
        with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
            say = channel.unary_unary(METHOD)
            body = f"secret-{number}".encode()
            answer = say(body, wait_for_ready=True, timeout=60)
            assert answer == body, answer


if sys.argv[1] == "server":
    serve(*sys.argv[2:])
else:
    call(*sys.argv[2:])
