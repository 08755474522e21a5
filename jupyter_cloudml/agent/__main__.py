"""``python -m jupyter_cloudml.agent keep BASE DIGEST`` | ``serve BASE DIGEST LOCK KEEPER`` | ``attach BASE DIGEST``.

See server.py, keeper.py and attach.py.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Run one of the three; the exit status."""
    if len(argv) == 3 and argv[0] == "keep":
        from .server import keep_serving

        return keep_serving(Path(argv[1]), argv[2])
    if len(argv) == 5 and argv[0] == "serve":
        from .server import serve

        return serve(Path(argv[1]), argv[2], int(argv[3]), int(argv[4]))
    if len(argv) == 3 and argv[0] == "attach":
        from .attach import attach

        return attach(Path(argv[1]), argv[2])
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
