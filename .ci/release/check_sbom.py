"""Checks SBOMs: that each is valid CycloneDX, names what it is of, and has every crate that Cargo.lock has for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# Where each is known under a name of its own.
CRATES = {"xaynet-sdk": "pet-python", "libpet": "pet-capi", "pet-coordinator": "pet-coordinator"}


def linked(crate: str) -> set[str]:
    """What cargo links into it on this machine: name and version."""
    command = ["cargo", "tree", "--locked", "--package", crate, "--edges", "normal,build"]
    command += ["--prefix", "none", "--format", "{p}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {
        f"{name} {version}" for name, version in re.findall(r"^(\S+) v(\S+)", output, re.MULTILINE)
    }


def main() -> None:
    for name in sys.argv[1:]:
        file = Path(name)
        text = file.read_text()
        if fault := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
            sys.exit(f"{file.name} is no valid CycloneDX: {fault}")
        document = json.loads(text)
        crate = CRATES[file.name.removesuffix(".cdx.json")]
        found = {f"{part['name']} {part['version']}" for part in document["components"]}
        own = document["metadata"]["component"]
        found.add(f"{own['name']} {own['version']}")
        missing = linked(crate) - found
        if own["name"] != crate or missing:
            sys.exit(f"{file.name}: of {own['name']}, without {sorted(missing)}")
        without = [part["name"] for part in document["components"] if not part.get("licenses")]
        if without:
            sys.exit(f"{file.name}: without a licence: {without}")
        print(f"{file.name}: {len(document['components'])} components, valid, nothing is missing")


if __name__ == "__main__":
    main()
