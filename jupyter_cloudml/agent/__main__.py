"""``python -m jupyter_cloudml.agent serve BASE DIGEST [LOCK]`` | ``attach BASE DIGEST``: see server.py and attach.py."""

from __future__ import annotations

import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Run one of the two; the exit status."""
    if len(argv) in (3, 4) and argv[0] == "serve":
        from .server import serve

        return serve(Path(argv[1]), argv[2], int(argv[3]) if len(argv) == 4 else None)
    if len(argv) == 3 and argv[0] == "attach":
        from .attach import attach

        return attach(Path(argv[1]), argv[2])
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
