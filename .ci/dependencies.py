"""Checks what is linked into portcullis: `cargo metadata --format-version 1 --locked | python3 .ci/dependencies.py`.

Licences: every package can be had under permissive ones. Duplicates: this workspace names no version of a crate that nothing else
uses, while another version is there anyway; what dependencies disagree on among themselves is theirs.
"""

import json
import re
import sys
from collections import defaultdict

PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
}

# Crates that are named here and are there twice all the same, each with the reason.
TOLERATED = {
    "wit-bindgen": "the other is that of wasip2, in a policy's sandbox, where neither knows of the other",
    "toml": "the other is that of wasmtime's cache, which wasmtime-wizer turns on and nothing here uses",
}


def is_permissive(expression):
    """Whether an SPDX expression leaves a choice of permissive licences; `/` is an old way to write OR."""
    tokens = re.findall(r"[()/]|[^\s()/]+(?:\s+WITH\s+[^\s()/]+)?", expression)
    words = {"(": "(", ")": ")", "/": "or", "OR": "or", "AND": "and"}
    text = " ".join(words.get(token) or str(" ".join(token.split()) in PERMISSIVE) for token in tokens)
    return bool(eval(text, {"__builtins__": {}}))  # Nothing but True, False, and, or and parentheses.


def licence_faults(packages):
    for package in packages:
        expression = package["license"]
        if not expression:
            yield f"{package['name']} {package['version']} names no licence"
        elif not is_permissive(expression):
            yield f"{package['name']} {package['version']} is under {expression}"


def duplicate_faults(metadata):
    ours = set(metadata["workspace_members"])
    names, versions, users = {}, defaultdict(set), defaultdict(set)
    for package in metadata["packages"]:
        names[package["id"]] = package["name"]
        versions[package["name"]].add(package["version"])
    for node in metadata["resolve"]["nodes"]:
        for dependency in node["deps"]:
            users[dependency["pkg"]].add(node["id"])
    # What is there because of this workspace alone, while something else brings another version.
    twice = {names[package] for package, by in users.items() if by <= ours and len(versions[names[package]]) > 1}
    for name in sorted(twice - set(TOLERATED)):
        yield f"{name} is there in the versions {', '.join(sorted(versions[name]))}, one of them only because it is named here"
    for name in sorted(set(TOLERATED) - twice):
        yield f"{name} is not there twice; take it off the list of what is tolerated"


def main():
    metadata = json.load(sys.stdin)
    faults = [*licence_faults(metadata["packages"]), *duplicate_faults(metadata)]
    print("\n".join(faults) or f"{len(metadata['packages'])} packages, all permissive")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
