"""`python -m benchmarks.contact SPEC`: start one kernel from a new process and print the seconds to its first answer.

Like a Jupyter server the process has loaded the provisioners and opened its database before; it has no link.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from benchmarks.session import running
from jupyter_cloudml_kernels.machines import current

if __name__ == "__main__":
    for provisioner in entry_points(group="jupyter_client.kernel_provisioners"):
        provisioner.load()
    current()
    with running(sys.argv[1]) as session:
        print(session.ready_s)
