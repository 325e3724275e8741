"""Read the text of a file by lines or in chunks, and report errors with their line and byte."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

MAX_LINE_BYTES = 1 << 24

_BOM = codecs.BOM_UTF8
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # a UTF-32 BOM begins with one of these, or with two zero bytes
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


class RecordFileError(ValueError):
    """The file cannot be read; the message says where and why."""


def lines(file: BinaryIO) -> Iterator[tuple[int, int, str]]:
    """Yield for each line its number from 1, its byte offset in the file, and its text, including the line end.

    Lines end in a line feed. Raise RecordFileError for invalid UTF-8 and for a line of 16 MiB or more.
    """
    offset = 0
    number = 0
    while data := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(data) == MAX_LINE_BYTES:
            raise RecordFileError(f"line {number}, byte {offset}: the line has over {MAX_LINE_BYTES:,} bytes")
        start = offset
        offset += len(data)
        if number == 1:
            refuse_utf_16(data)
            if data.startswith(_BOM):
                data, start = data[len(_BOM) :], len(_BOM)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise RecordFileError(f"line {number}, {not_utf_8(start + error.start, data[error.start])}") from None
        yield number, start, text


def csv_lines(file: BinaryIO) -> Iterator[tuple[int, str, str]]:
    """Yield for each line its number from 1, its text, and its end: a line feed, a carriage return or both."""
    further = 0  # lines that end in a carriage return alone
    for number, _, text in lines(file):
        if "\r" not in text:
            line = text.removesuffix("\n")
            yield number + further, line, text[len(line) :]
            continue
        parts: list[str] = _LINES.findall(text)
        for count, part in enumerate(parts):
            line = part.rstrip("\r\n")
            yield number + further + count, line, part[len(line) :]
        further += len(parts) - 1


class TextPieces:
    """A UTF-8 file that is read in chunks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._bytes = 0

    def read(self, size: int) -> str:
        """Return about the next `size` bytes as text, or an empty string at the end of the file."""
        while True:
            data = self._file.read(size)
            if not self._bytes:
                refuse_utf_16(data)
            pending = len(self._decoder.getstate()[0])
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                offset = self._bytes - pending + error.start
                raise RecordFileError(not_utf_8(offset, error.object[error.start])) from None
            self._bytes += len(data)
            if text or not data:
                return text


def refuse_utf_16(data: bytes) -> None:
    """Raise RecordFileError if a file that begins with these bytes is UTF-16 or UTF-32."""
    if data.startswith(_UTF_16) or b"\0" in data[:4]:
        raise RecordFileError("the file is UTF-16 or UTF-32; convert it first: iconv -f UTF-16 -t UTF-8")


def not_utf_8(offset: int, byte: int) -> str:
    """Return a message that the byte at an offset is not UTF-8, and how to convert the file."""
    problem = f"byte {offset}: 0x{byte:02X} is not valid UTF-8"
    return f"{problem}; convert the file first, for Latin-1 by iconv -f WINDOWS-1252 -t UTF-8"
