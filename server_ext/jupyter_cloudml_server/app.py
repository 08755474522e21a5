"""The extension application: builds the core, mounts the routes, publishes events, brings kernels back."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Enum, List, Unicode, default

from jupyter_cloudml.config import NOTEBOOK_DATA, Config
from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml_server.core import Core
from jupyter_cloudml_server.handlers import routes
from jupyter_cloudml_server.handlers.base import SETTING
from jupyter_cloudml_server.here import python_of
from jupyter_cloudml_server.reattach import Reattach

if TYPE_CHECKING:
    from jupyter_events import EventLogger
    from jupyter_server.serverapp import ServerApp
    from tornado.platform.asyncio import BaseAsyncIOLoop

STOP_S = 10.0  # for all that the extension has to do when the server stops


class CloudMLApp(ExtensionApp):
    """Runs notebooks on any machine, and keeps what they say until it is saved."""

    name = "jupyter_cloudml"
    load_other_extensions = True

    home = Unicode(
        "",
        help="The folder for the database, accepted host keys, records and sockets. Empty: JUPYTER_CLOUDML_HOME, else <jupyter data dir>/cloudml.",
    ).tag(config=True)
    on_server_stop = Enum(
        ["keep", "stop"],
        "keep",
        help="What becomes of kernels on machines when this server stops: they are kept and found again, or stopped.",
    ).tag(config=True)
    notebook_data = List(
        Unicode(),
        help="What dataset() in notebooks may ask this server to sync with its credentials: s3://, s3://BUCKET or s3://BUCKET/PREFIX, any number. Empty: nothing. By default what JUPYTER_CLOUDML_NOTEBOOK_DATA says, else s3://.",
    ).tag(config=True)

    @default("notebook_data")
    def _notebook_data_default(self) -> list[str]:
        return list(Config.from_environ().notebook_data)

    scheduler = Bool(
        True,
        help="Whether this server starts what jobs have to run, and looks after it. Servers and `jupyter cloudml scheduler` of one database share the work.",
    ).tag(config=True)

    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Say where sessions are kept; runs before the session manager exists."""
        super()._link_jupyter_server_extension(serverapp)
        if self.home:
            # Everything in this process, the kernels' provisioners too, must mean the same folder.
            os.environ["JUPYTER_CLOUDML_HOME"] = os.path.abspath(os.path.expanduser(self.home))
        self._reattach = Reattach(on_server_stop=self.on_server_stop)
        self._reattach.link(serverapp)
        sockets = serverapp.config.ZMQChannelsWebsocketConnection
        if "limit_rate" not in sockets:  # beyond 1 MB/s an open page would lose lines for good
            sockets.limit_rate = False

    def initialize_settings(self) -> None:
        """Build the core and put the kernels back on the map; no request can come yet."""
        server = self._server()
        if tuple(self.notebook_data) != Config.from_environ().notebook_data:
            # Schedulers and terminals that this server starts heed it as well.
            os.environ[NOTEBOOK_DATA] = ",".join(self.notebook_data)
        try:
            self._core: Core | CloudMLError = Core(
                Config.from_environ(),
                cast("EventLogger", server.event_logger),
                cast("BaseAsyncIOLoop", server.io_loop).asyncio_loop,
                server.session_manager,
                os.path.realpath(server.root_dir),
                python_of(server.kernel_spec_manager),
                self.notebook_data,
                self.scheduler,
            )
        except CloudMLError as error:
            # The server is up all the same, and each request says why this part of it is not.
            self.log.error("jupyter-cloudml cannot start: %s", error)
            self._core = error
        self.settings[SETTING] = self._core
        self._reattach.load(server)

    def initialize_handlers(self) -> None:
        """Mount the REST interface."""
        self.handlers.extend(routes())

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Connect machines and kernels; the loop runs now."""
        if isinstance(self._core, Core):
            self._core.start()
        await self._reattach.start(serverapp)

    async def stop_extension(self) -> None:
        """Let go of the kernels before the server would shut them down, then of everything else."""
        try:
            await asyncio.wait_for(self._stop(), STOP_S)
        except asyncio.TimeoutError:
            self.log.warning(
                "jupyter-cloudml did not stop within %d s; the rest ends with the process", STOP_S
            )

    def _server(self) -> ServerApp:
        if self.serverapp is None:
            raise RuntimeError("jupyter_cloudml is not linked to a server")
        return self.serverapp

    async def _stop(self) -> None:
        await self._reattach.stop(self._server())
        if isinstance(self._core, Core):
            await self._core.close()
