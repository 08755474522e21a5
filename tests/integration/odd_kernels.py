"""IPython's kernel, made to be as particular about its sockets as some kernels of other languages are.

python -m integration.odd_kernels tcp|colon CONNECTION_FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp


class ColonApp(IPKernelApp):
    """Writes an ipc address as IJulia does: as one of TCP."""

    def _try_bind_socket(self, s: Any, port: int) -> int:
        s.bind(f"ipc://{self.ip}:{port}")
        return port


def main() -> None:
    """Run it; a kernel that knows TCP alone ends at once when it is given anything else."""
    kind, file = sys.argv[1:]
    if kind == "tcp" and json.loads(Path(file).read_text())["transport"] != "tcp":
        sys.exit("error: unsupported transport")
    app = ColonApp if kind == "colon" else IPKernelApp
    app.launch_instance(["-f", file])


if __name__ == "__main__":
    main()
