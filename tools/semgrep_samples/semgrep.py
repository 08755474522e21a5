"""What each rule of ../semgrep.yml catches and lets pass; read by `semgrep --test`, never imported."""
import asyncio
import os
import subprocess
from pathlib import Path

import paramiko
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from paramiko import AutoAddPolicy
from tornado import web

from jupyter_cloudml.paths import safe_join


def shells(command):
    # ruleid: shell-true
    subprocess.run(command, shell=True)
    # ruleid: shell-true
    asyncio.create_subprocess_shell(command)
    # ruleid: shell-true
    os.system(command)
    # ok: shell-true
    subprocess.run([command], shell=False)
    # ok: shell-true
    subprocess.run([command])


def argv(host, branch):
    # ruleid: ssh-argv-without-dashes
    subprocess.run(["ssh", host, "true"])
    # ruleid: ssh-argv-without-dashes
    command = ["ssh", "-p", "22", host]
    # ok: ssh-argv-without-dashes
    command = ["ssh", "-p", "22", "--", host]
    # ok: ssh-argv-without-dashes
    subprocess.run(["ssh", "-V"])
    # ok: ssh-argv-without-dashes
    checks = {"ssh": host}
    # ruleid: git-argv-without-dashes
    subprocess.run(["git", "fetch", "origin", branch])
    # ok: git-argv-without-dashes
    subprocess.run(["git", "fetch", "origin", "--", branch])
    return command, checks


def host_keys(client):
    # ruleid: host-key-accepted-unseen
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    # ruleid: host-key-accepted-unseen
    client.set_missing_host_key_policy(AutoAddPolicy())
    # ruleid: host-key-accepted-unseen
    option = "-oStrictHostKeyChecking=no"
    # ok: host-key-accepted-unseen
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    # ok: host-key-accepted-unseen
    option = "-oStrictHostKeyChecking=yes"
    return option


class MachinesHandler(APIHandler):
    # ok: verb-without-authentication, verb-without-authorization
    @web.authenticated
    @authorized
    async def get(self):
        pass

    # ok: verb-without-authentication, verb-without-authorization
    @web.authenticated
    @authorized
    def head(self):
        pass

    # ruleid: verb-without-authentication, verb-without-authorization
    def post(self):
        pass

    # ruleid: verb-without-authorization
    @web.authenticated
    async def delete(self):
        pass

    # ruleid: verb-without-authentication
    @authorized
    async def patch(self):
        pass

    # ok: verb-without-authentication, verb-without-authorization
    def helper(self):
        pass


def paths(link, root: Path):
    row = link.call("list")
    # ruleid: path-joined-with-a-foreign-name
    a = os.path.join(root, row["name"])
    # ruleid: path-joined-with-a-foreign-name
    b = root / row["name"]
    # ruleid: path-joined-with-a-foreign-name
    c = root.joinpath(link.call("list")["name"])
    # ruleid: path-joined-with-a-foreign-name
    f = root / link.run(["hostname"]).stdout.decode()
    # ok: path-joined-with-a-foreign-name
    g = root / subprocess.run(["hostname"]).stdout.decode()
    # ok: path-joined-with-a-foreign-name
    d = safe_join(root, row["name"])
    # ok: path-joined-with-a-foreign-name
    e = root / "machines"
    return a, b, c, d, e, f, g
