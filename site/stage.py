"""Copies all pages, and the files that they link to, to where the site is built from.

Pages stay where they are in the repository, so that GitHub shows them with working links; the site has them in the same
folders, and so the same links work there. Documentation of code is put in if it was built.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)(?:#[^)]*)?\)|src=\"(?![a-z]+:)([^\"]+)\"")


def pages() -> list[Path]:
    """All Markdown files but those of what is built or hidden, relative to the repository's root."""
    found = []
    for folder, names, files in os.walk(ROOT):
        names[:] = [name for name in names if not name.startswith((".", "target", "node_modules"))]
        found += [Path(folder, file).relative_to(ROOT) for file in files if file.endswith(".md")]
    return sorted(page for page in found if page.parts[0] != "site")


def linked(page: Path) -> set[Path]:
    """The files that a page links to, but for other pages."""
    files = set()
    for match in LINK.finditer((ROOT / page).read_text()):
        target = Path(os.path.normpath(page.parent / (match[1] or match[2])))
        if target.suffix != ".md" and (ROOT / target).is_file():
            files.add(target)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Copies all pages to where the site is built from."
    )
    parser.add_argument("to", type=Path, nargs="?")
    parser.add_argument(
        "--list",
        action="store_true",
        help="only say which pages there are, or which the site lacks",
    )
    parser.add_argument("--rust", type=Path, help="what `cargo doc` has written")
    parser.add_argument("--python", type=Path, help="what pdoc has written")
    options = parser.parse_args()
    if options.list:
        contents = (ROOT / "site" / "mkdocs.yml").read_text()
        for page in pages():
            if not re.search(rf"(?:- |: ){re.escape(str(page))}$", contents, re.MULTILINE):
                raise SystemExit(f"site/mkdocs.yml does not have {page} in its nav")
        print(*pages(), sep="\n")
        return
    if options.to is None:
        parser.error("where to?")
    shutil.rmtree(options.to, ignore_errors=True)
    all_pages = pages()
    for file in {*all_pages, *(file for page in all_pages for file in linked(page))}:
        (options.to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, options.to / file)
    shutil.copy(ROOT / "site" / "reference.md", options.to)
    for name, folder in (("rust", options.rust), ("python-api", options.python)):
        if folder is not None:
            shutil.copytree(folder, options.to / name)


if __name__ == "__main__":
    main()
