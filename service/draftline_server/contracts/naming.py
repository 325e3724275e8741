"""Names of generated classes and attributes."""

from __future__ import annotations

import keyword
import re
import unicodedata

# Attribute names that would hide a type or a method of the generated classes.
_RESERVED = {
    "bool", "construct", "copy", "dict", "field", "float", "from_orm", "int", "json", "list", "mro", "parse_file",
    "parse_obj", "parse_raw", "register", "schema", "schema_json", "str", "update_forward_refs", "validate",
}  # fmt: skip
_RESERVED_CLASSES = {"Any", "BaseModel", "ConfigDict", "Field", "Literal", "NotRequired", "Struct", "TypedDict",
                     "UnsetType", "Unset", "UNSET", "None", "True", "False"}  # fmt: skip
_PROTECTED = ("model_dump", "model_validate")  # Pydantic warns of attributes that begin with them
_SINGULAR = {"movies": "movie", "cookies": "cookie", "series": "series", "species": "species"}


def class_name(text: str) -> str:
    """Return a class name for a key or a collection: "the dog" becomes TheDog.

    It begins with a capital letter, unlike any attribute: an attribute with its name would hide the class.
    """
    name = "".join(word[:1].upper() + word[1:] for word in _words(text))
    if not name[:1].isupper():
        name = f"Model{name}"
    return f"{name}Model" if name in _RESERVED_CLASSES else name


def model_name(collection: str) -> str:
    """Return the class name for the records of a collection: "movies" becomes Movie."""
    return class_name(singular(collection))


def singular(word: str) -> str:
    """Return the singular of an English word, by the usual endings."""
    if known := _SINGULAR.get(word.lower()):
        return word[: len(known)]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def attribute_name(key: str) -> str:
    """Return an attribute name for a key: "US Gross" becomes us_gross, "class" becomes class_."""
    words = "_".join(_words(key))
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", words).lower()
    if not name or not name[0].isalpha():
        name = f"field_{name}" if name else "field_"
    if name.startswith(_PROTECTED):
        name = f"field_{name}"
    is_reserved = keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _RESERVED
    return f"{name}_" if is_reserved or name.startswith("model_") else name


def is_unchanged_name(key: str) -> bool:
    """Return whether a key is a name that Python keeps as it is in the body of a class."""
    is_name = key.isidentifier() and not keyword.iskeyword(key)
    return is_name and not key.startswith("__") and unicodedata.normalize("NFKC", key) == key


def unique(name: str, taken: set[str]) -> str:
    """Return the name, with a number if it is taken, and add it to the taken ones."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name.rstrip('_')}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFKC", text)) if word.isidentifier() or
            f"x{word}".isidentifier()]  # fmt: skip
