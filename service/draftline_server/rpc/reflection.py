"""Server reflection for every symbol of every file of the contract, as gRPC servers in C++ and Go provide it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import grpc
from draftline.v1 import (
    change_pb2,
    collection_pb2,
    content_pb2,
    draft_pb2,
    error_reason_pb2,
    sync_pb2,
    tenant_pb2,
    types_pb2,
    upstream_pb2,
)
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

CONTRACT = (
    change_pb2, collection_pb2, content_pb2, draft_pb2, error_reason_pb2, sync_pb2, tenant_pb2, types_pb2, upstream_pb2
)  # fmt: skip
OTHER_FILES = (error_details_pb2, health_pb2, reflection_pb2)  # error_details: the details of errors
REFLECTION_V1 = "grpc/reflection/v1/reflection.proto"

# grpcio has no type annotations for its reflection messages.
Request: TypeAlias = Any
Response: TypeAlias = Any


class Reflection(ReflectionServicer):  # type: ignore[misc]  # grpcio does not annotate it
    """A servicer with its own symbol index: protobuf's pool does not find methods, extensions and enum values."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__(service_names=services)
        files = [module.DESCRIPTOR for module in (*CONTRACT, *OTHER_FILES)]
        self._files = {file.name: file for file in _with_imports([*files, _reflection_v1()])}
        self._symbols = {symbol: file for file in self._files.values() for symbol in symbols_of(file)}
        self._extensions: dict[tuple[str, int], FileDescriptor] = {}  # by extended message and field number
        for file in self._files.values():
            for extension in _extensions_of(file):
                extended: Any = extension.containing_type
                self._extensions[extended.full_name, extension.number] = file
        self._answers: dict[str, Sequence[bytes]] = {}  # serialized files with all their imports, by name

    def _file_by_filename(self, request: Request, filename: str) -> Response:
        return self._answer(request, self._files.get(filename), f"file {filename}")

    def _file_containing_symbol(self, request: Request, fully_qualified_name: str) -> Response:
        return self._answer(request, self._symbols.get(fully_qualified_name), f"symbol {fully_qualified_name}")

    def _file_containing_extension(self, request: Request, containing_type: str, extension_number: int) -> Response:
        file = self._extensions.get((containing_type, extension_number))
        return self._answer(request, file, f"extension {extension_number} of {containing_type}")

    def _all_extension_numbers_of_type(self, request: Request, containing_type: str) -> Response:
        file = self._symbols.get(containing_type)
        if file is None or containing_type not in _messages_of(file):
            return _not_found(request, f"message {containing_type}")
        numbers = sorted(number for extended, number in self._extensions if extended == containing_type)
        response = reflection_pb2.ServerReflectionResponse(original_request=request)
        response.all_extension_numbers_response.base_type_name = containing_type
        response.all_extension_numbers_response.extension_number.extend(numbers)
        return response

    def _answer(self, request: Request, file: FileDescriptor | None, name: str) -> Response:
        if file is None:
            return _not_found(request, name)
        answer = self._answers.get(file.name)
        if answer is None:
            answer = self._answers[file.name] = [part.serialized_pb for part in _with_imports([file])]
        response = reflection_pb2.ServerReflectionResponse(original_request=request)
        response.file_descriptor_response.file_descriptor_proto.extend(answer)
        return response


def _not_found(request: Request, name: str) -> Response:
    response = reflection_pb2.ServerReflectionResponse(original_request=request)
    response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
    response.error_response.error_message = f"unknown {name}"
    return response


def _with_imports(files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
    """Return the files and all their transitive imports, each once, in depth-first order."""
    collected: dict[str, FileDescriptor] = {}
    pending = list(files)[::-1]
    while pending:
        file = pending.pop()
        if file.name not in collected:
            collected[file.name] = file
            pending.extend(file.dependencies)
    return list(collected.values())


def symbols_of(file: FileDescriptor) -> Iterator[str]:
    """Yield the full names of all symbols of a file. An enum value has two: beside its enum, and within it."""
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    yield from (extension.full_name for extension in _extensions_of(file))
    for enum in file.enum_types_by_name.values():
        yield from _symbols_of_enum(enum, file.package)
    for message in _messages_of(file).values():
        yield message.full_name
        yield from (field.full_name for field in message.fields)
        yield from (oneof.full_name for oneof in message.oneofs)
        for enum in message.enum_types:
            yield from _symbols_of_enum(enum, message.full_name)


def _symbols_of_enum(enum: EnumDescriptor, scope: str) -> Iterator[str]:
    yield enum.full_name
    for value in enum.values:
        yield f"{scope}.{value.name}" if scope else value.name
        yield f"{enum.full_name}.{value.name}"


def _messages_of(file: FileDescriptor) -> dict[str, Descriptor]:
    """Return all messages of a file, including nested ones, by full name."""
    messages: dict[str, Descriptor] = {}
    pending = list(file.message_types_by_name.values())
    while pending:
        message = pending.pop()
        messages[message.full_name] = message
        pending.extend(message.nested_types)
    return messages


def _extensions_of(file: FileDescriptor) -> Iterator[FieldDescriptor]:
    yield from file.extensions_by_name.values()
    for message in _messages_of(file).values():
        yield from message.extensions


def _reflection_v1() -> FileDescriptor:
    """Return the descriptor of reflection v1. grpcio has only v1alpha, which differs only in its package name."""
    pool: Any = descriptor_pool.Default()
    try:
        file: FileDescriptor = pool.FindFileByName(REFLECTION_V1)
    except KeyError:
        proto = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
        text = text_format.MessageToString(proto).replace("v1alpha", "v1")
        renamed = text_format.Parse(text, FileDescriptorProto())
        pool.AddSerializedFile(renamed.SerializeToString())
        file = pool.FindFileByName(renamed.name)
    return file
