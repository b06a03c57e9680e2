"""Refuses files over 400 lines and functions over 80: split them by noun before they get there."""

import ast
import subprocess
import sys
from pathlib import Path

FILE_LINES_MAX, FUNCTION_LINES_MAX = 400, 80


def too_long(path: Path) -> list[str]:
    """What of one file is too long, in words."""
    source = path.read_text()
    lines = source.count("\n") + 1
    found = [f"{path}: {lines} lines, {FILE_LINES_MAX} at most"] if lines > FILE_LINES_MAX else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                found.append(f"{path}:{node.lineno} {node.name}: {length} lines, {FUNCTION_LINES_MAX} at most")
    return found


def main() -> int:
    """Check every Python file that git does not ignore; returns the exit status."""
    which = ["--cached", "--others", "--exclude-standard", "*.py", ":!infra/migrations/versions"]
    names = subprocess.run(["git", "ls-files", *which], capture_output=True, text=True, check=True).stdout.split()
    found = [line for name in names if Path(name).exists() for line in too_long(Path(name))]
    sys.stdout.write("".join(f"{line}\n" for line in found) or f"sizes: {len(names)} files, none too long\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
