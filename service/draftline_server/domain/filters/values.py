"""Field types, and conversion of values from filter text and to the text that the typed SQL functions read."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = str | Decimal | bool | date | datetime
MAX_NUMBER_DIGITS = 1000  # before and after the decimal point each, as in stored documents


class FieldType(StrEnum):
    """The type that a field is compared, sorted and indexed as. A value of another JSON type counts as missing."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"


# The expected format of each type, for error messages about a filter's literals.
EXPECTED = {
    FieldType.NUMBER: "a number such as 12 or -0.5, with at most 1,000 digits before and after the point",
    FieldType.BOOLEAN: "true or false",
    FieldType.DATE: 'a date such as 2026-11-20 or "Nov 20 2026"',
    FieldType.TIMESTAMP: "a time with its offset such as 2026-11-20T10:00:00Z, or a date such as 2026-11-20",
}
# The same for stored values.
EXPECTED_STORED = {
    FieldType.TEXT: "a text",
    FieldType.NUMBER: "a number of at most 100 digits before and after the point",
    FieldType.BOOLEAN: EXPECTED[FieldType.BOOLEAN],
    FieldType.DATE: EXPECTED[FieldType.DATE] + " without a time",
    FieldType.TIMESTAMP: EXPECTED[FieldType.TIMESTAMP],
}

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?([0-9]+))?")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_NAMED_DATE = re.compile(r"([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def looks_like_number(text: str) -> bool:
    """Return whether the text is a JSON number (RFC 8259): `007` and `.5` are not."""
    return _NUMBER.fullmatch(text) is not None


def read_number(text: str) -> Decimal | None:
    """Return the exact value of a JSON number; None for anything else and for a number with too many digits."""
    match = _NUMBER.fullmatch(text)
    # An exponent of five digits is always over the limit, and Decimal cannot handle a very long one.
    if match is None or len(match[1] or "") > len(str(MAX_NUMBER_DIGITS)):
        return None
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_NUMBER_DIGITS:
        return None
    if number.is_zero():
        return Decimal(0)
    return number if number.adjusted() < MAX_NUMBER_DIGITS else None


def read_date(text: str) -> date | None:
    """Return the date written as `2026-11-20` (ISO 8601) or `Nov 20 2026`; None for anything else."""
    if match := _ISO_DATE.fullmatch(text):
        year, month, day = int(match[1]), int(match[2]), int(match[3])
    elif (match := _NAMED_DATE.fullmatch(text)) and match[1] in _MONTHS:
        year, month, day = int(match[3]), _MONTHS.index(match[1]) + 1, int(match[2])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def read_timestamp(text: str) -> datetime | None:
    """Return an RFC 3339 timestamp in UTC, truncated to microseconds; None for anything else.

    A leap second is read as the second after it; it is valid only in the last minute of a month in UTC. `24:00:00`,
    offsets of a day or more, and times before year 1 or after 9999 in UTC are invalid.
    """
    match = _TIMESTAMP.fullmatch(text)
    day = read_date(match[1]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = int(match[2]), int(match[3]), int(match[4])
    is_leap = second == 60
    microsecond = int((match[5] or "0")[:6].ljust(6, "0"))
    offset_hours, offset_minutes = int(match[7] or 0), int(match[8] or 0)
    if offset_hours > 23 or offset_minutes > 59:
        return None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes)
    zone = timezone(-offset if match[6] == "-" else offset)
    try:
        time = datetime(day.year, day.month, day.day, hour, minute, second - is_leap, tzinfo=zone).astimezone(UTC)
        time += timedelta(seconds=is_leap)
    except (ValueError, OverflowError):
        return None
    if is_leap and (time.day, time.hour, time.minute, time.second) != (1, 0, 0, 0):
        return None
    return time + timedelta(microseconds=microsecond)


def read_value(text: str, type_: FieldType) -> Value | None:
    """Return the text as a value of the type; None if it is not one. A date read as a TIMESTAMP means midnight UTC."""
    if type_ is FieldType.NUMBER:
        return read_number(text)
    if type_ is FieldType.BOOLEAN:
        return {"true": True, "false": False}.get(text)
    if type_ is FieldType.DATE:
        return read_date(text)
    if type_ is FieldType.TIMESTAMP:
        return read_timestamp(text) or read_timestamp(f"{read_date(text)}T00:00:00Z")
    return text


def value_text(value: Value) -> str:
    """Return a value as the text that the typed SQL functions read."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # also matches datetime, a subclass
        return value.isoformat()
    return str(value)
