"""PostgreSQL, the services of deploy/'s units and nginx with deploy/'s configuration, on loopback and without root's
rights where they need none."""

import base64
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from installed import DEPLOY, commands, environment
from programs import program
from servers import Server, eventually, free_ports, graphql

OPERATOR, VIEWER = ("alice", "pa:ss wörd"), ("victor", "only looks")
ASSETS = "{ assetNodes { assetKey { path } } }"
HOST_NAME = "dagster.example.org"


class Production:
    """A host on which deploy/ was installed as docs/deployment.md says."""

    def __init__(self, folder: Path, project: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.home = folder / "home"
        self.home.mkdir()
        shutil.copy(DEPLOY / "dagster.yaml", self.home)
        database, code, web, viewer, self.operators_port, self.viewers_port, redirect = free_ports(7)
        self.variables = environment() | {
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_PG_PORT": str(database),
            "DAGSTER_PG_PASSWORD": "p@ss/w:rd%",
            "CODE_LOCATION_MODULE": "production_location",
            "CODE_LOCATION_FOLDER": str(Path(__file__).parent),
            "CODE_SERVER_PORT": str(code),
            "WEBSERVER_PORT": str(web),
            "VIEWER_PORT": str(viewer),
            "SPARKTORCH_MODEL_CACHE": str(folder / "cache"),
        }
        self.redirect_port = redirect
        # A service has none of the shell's variables, and the environment's programs are not on its PATH.
        kept = {name: os.environ[name] for name in ("HOME", "JAVA_HOME", "PYTHONPATH", "LANG") if name in os.environ}
        self.env = kept | {"PATH": "/usr/local/bin:/usr/bin:/bin"} | self.variables
        self.env |= {"PRODUCTION_PROJECT": str(project), "DAGSTER_DISABLE_TELEMETRY": "1"}
        self.servers: dict[str, Server] = {}
        self.certificate = folder / "dagster.pem"

    @property
    def operators(self) -> str:
        return f"https://127.0.0.1:{self.operators_port}"

    @property
    def viewers(self) -> str:
        return f"https://127.0.0.1:{self.viewers_port}"

    def start(self, unit: str) -> None:
        """As `systemctl start`."""
        first, service = commands(unit, self.variables)
        for command in first:
            done = subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, text=True, check=False)
            (self.folder / f"{unit}.before").write_text(done.stdout)
            assert done.returncode == 0, done.stdout + done.stderr
        self.servers[unit] = Server(service, log=self.folder / f"{unit}.log", env=self.env, cwd=self.home)
        self.stack.callback(self.servers[unit].stop)

    def ask(self, query: str, variables: dict[str, Any] | None = None, *, of: str | None = None) -> Any:
        """The answer to an operator, by way of the proxy; or from another address."""
        if of is not None:
            return graphql(of, query, variables)
        return graphql(self.operators, query, variables, Authorization=basic(*OPERATOR), context=self.tls())

    def tls(self) -> ssl.SSLContext:
        """Trusts the certificate of this host, whose name is not asked for."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        return context

    def until(self, look: Any, seconds: float = 180) -> Any:
        return eventually(look, seconds=seconds, servers=list(self.servers.values()))

    def start_database(self) -> None:
        """A new cluster of PostgreSQL, with what docs/deployment.md has created in it."""
        initdb, postgres, createdb = (
            program(name, package="postgresql") for name in ("initdb", "postgres", "createdb")
        )
        data = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # pytest's folders are closed to other users
        self.stack.callback(shutil.rmtree, data, ignore_errors=True)
        password = data.with_suffix(".password")
        password.write_text(self.variables["DAGSTER_PG_PASSWORD"])
        self.stack.callback(password.unlink)
        # PostgreSQL refuses to run as root.
        other_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            other_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            for path in (data, password):
                shutil.chown(path, "postgres", "postgres")
        host, port, user = (self.variables[f"DAGSTER_PG_{name}"] for name in ("HOST", "PORT", "USERNAME"))
        subprocess.run(
            [initdb, "-D", data, "-U", user, "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
            **other_user,
        )
        options = {"listen_addresses": host, "port": port, "unix_socket_directories": str(data), "fsync": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.servers["postgres"] = Server(
            [postgres, "-D", data, *words],
            log=self.folder / "postgres.log",
            env={"PATH": "/usr/bin:/bin"},
            cwd=Path("/"),
            **other_user,
        )
        self.stack.callback(self.servers["postgres"].stop)
        create = [createdb, "-h", host, "-p", port, "-U", user, self.variables["DAGSTER_PG_DB"]]
        env = {"PATH": "/usr/bin:/bin", "PGPASSWORD": self.variables["DAGSTER_PG_PASSWORD"]}
        self.until(lambda: subprocess.run(create, env=env, capture_output=True, check=False).returncode == 0)

    def start_proxy(self) -> None:
        """nginx with deploy/nginx.conf, in which only paths and ports are others."""
        nginx, openssl = program("nginx", package="nginx"), program("openssl", package="openssl")
        key = self.folder / "dagster.key"
        subject = ["-subj", f"/CN={HOST_NAME}", "-addext", f"subjectAltName=DNS:{HOST_NAME}"]
        files = ["-keyout", key, "-out", self.certificate]
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
        subprocess.run(command, check=True, capture_output=True)
        passwords = {"operators": OPERATOR, "viewers": VIEWER}
        for name, (user, password) in passwords.items():
            hashed = subprocess.run(
                [openssl, "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
            )
            (self.folder / name).write_text(f"{user}:{hashed.stdout}")
        text = (DEPLOY / "nginx.conf").read_text()
        for installed, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{self.operators_port} ssl",
            "listen 8443 ssl": f"listen 127.0.0.1:{self.viewers_port} ssl",
            "listen 80;": f"listen 127.0.0.1:{self.redirect_port};",
            "http://127.0.0.1:3000": f"http://127.0.0.1:{self.variables['WEBSERVER_PORT']}",
            "http://127.0.0.1:3001": f"http://127.0.0.1:{self.variables['VIEWER_PORT']}",
            "/etc/ssl/certs/dagster.pem": str(self.certificate),
            "/etc/ssl/private/dagster.key": str(key),
            "/etc/nginx/dagster-operators;": f"{self.folder}/operators;",
            "/etc/nginx/dagster-viewers;": f"{self.folder}/viewers;",
        }.items():
            assert installed in text
            text = text.replace(installed, here)
        (self.folder / "site.conf").write_text(text)
        scratch = "".join(
            f"{name}_temp_path {self.folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root; " if os.geteuid() == 0 else ""  # its workers read the passwords in pytest's folder
        (self.folder / "nginx.conf").write_text(
            f"{user}daemon off; pid {self.folder}/nginx.pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {scratch}\ninclude {self.folder}/site.conf; }}\n"
        )
        self.servers["nginx"] = Server(
            [nginx, "-e", "stderr", "-c", self.folder / "nginx.conf"],
            log=self.folder / "nginx.log",
            env={"PATH": "/usr/bin:/bin"},
            cwd=self.folder,
        )
        self.stack.callback(self.servers["nginx"].stop)


def basic(user: str, password: str) -> str:
    """The header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def production(folder: Path, project: Path) -> Iterator[Production]:
    """All of it, started at the same moment, as after a reboot."""
    with ExitStack() as stack:
        host = Production(folder, project, stack)
        host.start_database()
        for unit in ("dagster-code-server", "dagster-daemon", "dagster-webserver", "dagster-viewer"):
            host.start(unit)
        host.start_proxy()
        # The web servers may have started before the code server, and find it on their own.
        host.until(lambda: host.ask(ASSETS)["assetNodes"])
        host.until(lambda: host.ask(ASSETS, of=f"http://127.0.0.1:{host.variables['VIEWER_PORT']}")["assetNodes"])
        yield host
