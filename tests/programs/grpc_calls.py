"""gRPC without TLS by grpcio: calls of every kind, over one connection.

    grpc_calls.py server PORT
    grpc_calls.py client PORT COUNT

The client makes each call so many times, and fails when one ends otherwise than it should.
"""

import sys
from concurrent import futures

import grpc

SERVICE = "/shop.v1.Orders/"


def get(request, context):
    return request


def watch(request, context):
    yield from [request] * 5


def upload(requests, context):
    return b"".join(requests)


def chat(requests, context):
    yield from requests


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "secret-reason")


HANDLERS = {
    SERVICE + "Get": grpc.unary_unary_rpc_method_handler(get),
    SERVICE + "Watch": grpc.unary_stream_rpc_method_handler(watch),
    SERVICE + "Upload": grpc.stream_unary_rpc_method_handler(upload),
    SERVICE + "Chat": grpc.stream_stream_rpc_method_handler(chat),
    SERVICE + "Fail": grpc.unary_unary_rpc_method_handler(fail),
}


class Orders(grpc.GenericRpcHandler):
    """Knows five methods."""

    def service(self, details):
        return HANDLERS.get(details.method)


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Orders()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def code_of(call, body):
    try:
        call(body, timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def call_all(port, count):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(60)
        get = channel.unary_unary(SERVICE + "Get")
        watch = channel.unary_stream(SERVICE + "Watch")
        upload = channel.stream_unary(SERVICE + "Upload")
        chat = channel.stream_stream(SERVICE + "Chat")
        fail = channel.unary_unary(SERVICE + "Fail")
        missing = channel.unary_unary(SERVICE + "Missing")
        for number in range(int(count)):
            body = f"secret-{number}".encode() * 20
            gzip = grpc.Compression.Gzip
            assert get(body, timeout=60, compression=gzip) == body
            assert list(watch(body, timeout=60)) == [body] * 5
            assert upload(iter([body] * 3), timeout=60) == body * 3
            assert list(chat(iter([body] * 4), timeout=60)) == [body] * 4
            assert code_of(fail, body) is grpc.StatusCode.NOT_FOUND
            assert code_of(missing, body) is grpc.StatusCode.UNIMPLEMENTED
        # More than is captured of a message.
        large = b"x" * 100_000
        assert list(watch(large, timeout=60)) == [large] * 5


if sys.argv[1] == "server":
    serve(*sys.argv[2:])
else:
    call_all(*sys.argv[2:])
