"""Reflection finds every symbol of every file, and tells of what it does not find."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import grpc
import pytest
from draftline import v1
from draftline_server.rpc.public_services import REFLECTION
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from support.responses import TIMEOUT_S
from support.servers import RunningServer

Request = reflection_pb2.ServerReflectionRequest
CONTRACT = [
    import_module(f"draftline.v1.{each.name}")
    for each in pkgutil.iter_modules(v1.__path__)
    if each.name.endswith("_pb2")
]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
VERSIONS = pytest.mark.parametrize("service", REFLECTION)


def asked(server: RunningServer, service: str, requests: list[Any]) -> list[Any]:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=Request.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        return list(call(iter(requests), timeout=TIMEOUT_S))


def files_in(answer: Any) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(file) for file in answer.file_descriptor_response.file_descriptor_proto]


def symbols(file: FileDescriptorProto) -> Iterator[str]:
    """By protobuf's own rules (descriptor.proto): a value of an enum stands beside its enum."""
    package = file.package
    for service in file.service:
        yield f"{package}.{service.name}"
        yield from (f"{package}.{service.name}.{method.name}" for method in service.method)
    yield from (f"{package}.{extension.name}" for extension in file.extension)
    for enum in file.enum_type:
        yield from symbols_of_enum(enum, package)
    for message in file.message_type:
        yield from symbols_of_message(message, package)


def symbols_of_enum(enum: EnumDescriptorProto, scope: str) -> Iterator[str]:
    yield f"{scope}.{enum.name}"
    yield from (f"{scope}.{value.name}" for value in enum.value)


def symbols_of_message(message: DescriptorProto, scope: str) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield name
    yield from (f"{name}.{each.name}" for each in [*message.field, *message.oneof_decl, *message.extension])
    for enum in message.enum_type:
        yield from symbols_of_enum(enum, name)
    for nested in message.nested_type:
        yield from symbols_of_message(nested, name)


@VERSIONS
def test_every_symbol_of_every_file_is_found(server: RunningServer, service: str) -> None:
    listed = asked(server, service, [Request(list_services="")])[0].list_services_response.service
    asking = [Request(file_containing_symbol=each.name) for each in listed]
    asking += [Request(file_by_filename=module.DESCRIPTOR.name) for module in CONTRACT]
    found = asked(server, service, asking)
    assert [answer.error_response.error_message for answer in found if answer.HasField("error_response")] == []
    files = {file.name: file for answer in found for file in files_in(answer)}
    expected = [(symbol, file.name) for file in files.values() for symbol in symbols(file)]
    answers = asked(server, service, [Request(file_containing_symbol=symbol) for symbol, _ in expected])
    homes = [(answer.original_request.file_containing_symbol, next(iter(files_in(answer)), FileDescriptorProto()).name)
             for answer in answers]  # fmt: skip
    assert homes == expected
    for symbol in ("draftline.v1.ContentService.PatchContent", "draftline.v1.ErrorReason",
                   "draftline.v1.ErrorReason.ERROR_REASON_INTERNAL", f"{service}.ServerReflectionInfo",
                   "google.rpc.RetryInfo.retry_delay", "grpc.health.v1.Health.Check"):  # fmt: skip
        assert files_in(asked(server, service, [Request(file_containing_symbol=symbol)])[0]), symbol


@VERSIONS
def test_file_comes_with_all_that_it_imports(server: RunningServer, service: str) -> None:
    for module in CONTRACT:
        (answer,) = asked(server, service, [Request(file_by_filename=module.DESCRIPTOR.name)])
        files = files_in(answer)
        assert files[0].name == module.DESCRIPTOR.name
        assert {name for file in files for name in file.dependency} <= {file.name for file in files}


@VERSIONS
def test_message_without_extensions_has_none(server: RunningServer, service: str) -> None:
    (answer,) = asked(server, service, [Request(all_extension_numbers_of_type="draftline.v1.Record")])
    assert answer.all_extension_numbers_response.base_type_name == "draftline.v1.Record"
    assert list(answer.all_extension_numbers_response.extension_number) == []


@VERSIONS
@pytest.mark.parametrize(
    "request_",
    [
        Request(file_containing_symbol="draftline.v1.Nobody"),
        Request(file_containing_symbol="draftline.v1"),
        Request(file_containing_symbol="draftline.v1.ContentService.Nothing"),
        Request(file_containing_symbol=""),
        Request(file_by_filename="draftline/v1/nothing.proto"),
        Request(all_extension_numbers_of_type="draftline.v1.Nobody"),
        Request(all_extension_numbers_of_type="draftline.v1.ErrorReason"),
        Request(file_containing_extension={"containing_type": "draftline.v1.Nobody", "extension_number": 1}),
        Request(file_containing_extension={"containing_type": "google.protobuf.FieldOptions", "extension_number": 7}),
    ],
    ids=str,
)
def test_what_is_not_there_is_not_found_and_the_stream_goes_on(
    server: RunningServer, service: str, request_: Any
) -> None:
    missing, services = asked(server, service, [request_, Request(list_services="")])
    assert missing.error_response.error_code == NOT_FOUND
    assert missing.original_request == request_
    assert services.list_services_response.service
