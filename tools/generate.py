"""Generate the Python stubs in client/draftline/v1 from protos/.

The protovalidate rules stay in the stubs' descriptors as unparsed option bytes, while
the import of `buf/validate/validate.proto` is removed from them. So the client needs no
`buf` package and cannot conflict with one, and the server can still read the rules from
the descriptors.

    python tools/generate.py            writes the stubs
    python tools/generate.py --check    exits 1 if the stubs are not up to date with protos/
    python tools/generate.py --image F  writes the compiled contract, for buf lint and breaking;
                                        with --bare, without comments
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "client" / "draftline" / "v1"
RULES = "buf/validate/validate.proto"


def sources() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def run_protoc(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed")


def compile_contract() -> FileDescriptorSet:
    """Compile the contract and its imports, with comments."""
    known = files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        # The protovalidate wheel ships the descriptor of its rules, not their source.
        image = Path(folder) / "image.binpb"
        rules = FileDescriptorSet(file=[FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())])
        run_protoc(
            f"--proto_path={known}",
            f"--descriptor_set_out={image}",
            "--include_imports",
            *(f"google/protobuf/{name}.proto" for name in ("descriptor", "duration", "field_mask", "timestamp")),
        )
        known_set = FileDescriptorSet.FromString(image.read_bytes())
        rules_file = Path(folder) / "rules.binpb"
        rules_file.write_bytes(FileDescriptorSet(file=[*known_set.file, *rules.file]).SerializeToString())
        run_protoc(
            f"--proto_path={PROTOS}",
            f"--proto_path={known}",
            f"--descriptor_set_in={rules_file}",
            f"--descriptor_set_out={image}",
            "--include_imports",
            "--include_source_info",
            *sources(),
        )
        return FileDescriptorSet.FromString(image.read_bytes())


def without_rules_import(contract: FileDescriptorSet) -> FileDescriptorSet:
    kept = [file for file in contract.file if file.name != RULES]
    for file in kept:
        dependencies = [name for name in file.dependency if name != RULES]
        del file.dependency[:]
        file.dependency.extend(dependencies)
    return FileDescriptorSet(file=kept)


def write_stubs(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        image = Path(work) / "contract.binpb"
        image.write_bytes(without_rules_import(compile_contract()).SerializeToString())
        run_protoc(
            f"--descriptor_set_in={image}",
            f"--python_out={work}",
            f"--grpc_python_out={work}",
            f"--mypy_out=quiet:{work}",
            f"--mypy_grpc_out=quiet:{work}",
            *sources(),
        )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(Path(work) / "draftline" / "v1", folder)
        (folder / "__init__.py").write_text(
            '"""Generated from protos/draftline/v1 by `make generate`; never edited."""\n'
        )


def check_stubs() -> None:
    with tempfile.TemporaryDirectory() as work:
        fresh = Path(work) / "v1"
        write_stubs(fresh)
        names = {path.name for folder in (fresh, STUBS) for path in folder.glob("*.py*") if path.is_file()}
        same, different, missing = filecmp.cmpfiles(fresh, STUBS, sorted(names), shallow=False)
    if different or missing:
        raise SystemExit(
            f"the stubs are not up to date with protos/, run `make generate`: {', '.join(different + missing)}"
        )
    print(f"{len(same)} stub files are up to date with protos/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--bare", action="store_true")
    options = parser.parse_args()
    if options.image:
        contract = compile_contract()
        if options.bare:
            for file in contract.file:
                file.ClearField("source_code_info")
        options.image.write_bytes(contract.SerializeToString(deterministic=True))
    elif options.check:
        check_stubs()
    else:
        write_stubs(STUBS)


if __name__ == "__main__":
    main()
