"""A real Flower federation on this machine: one SuperLink, several SuperNodes, each a process, on loopback alone.

    python examples/loopback.py APP --nodes 3 --malicious 2 --tls --kill-after 2 --out /tmp/federation

starts everything, runs the app, kills the SuperLink with -9 after the given round if asked, starts it again, runs the
app to its end and stops everything. Nothing is downloaded; every wait has an end. Used by the examples and the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ENV = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""What keeps Flower from the network, and the apps to one core each."""
ROUNDS = "verdicts.jsonl"
"""Log of a `DefendedStrategy`, one line a round."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `done` is true; TimeoutError if it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds:.0f} s")
        time.sleep(0.2)


def listens(port: int) -> bool:
    """Tell whether someone listens on a port of loopback."""
    with socket.socket() as s:
        s.settimeout(0.3)
        return s.connect_ex(("127.0.0.1", port)) == 0


def rounds_in(folder: Path) -> list[dict]:
    """Return the lines of a strategy's log of verdicts that are whole."""
    path = folder / ROUNDS
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def places_in(folder: Path, nodes: int) -> dict[int, int]:
    """Return which SuperNode (its place) has, or has had, which node id, from what the SuperNodes say of themselves."""
    found = {}
    for place in range(nodes):
        log = folder / f"node-{place}.log"
        said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        found.update({int(node): place for node in re.findall(r"SuperNode ID: (\d+)", said)})
    return found


def last_words(folder: Path, lines: int = 12) -> str:
    """Return the ends of all logs of a federation, for an error that must explain itself."""
    parts = []
    for path in sorted(folder.glob("*.log")):
        said = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        parts.append("\n".join([f"--- {path.name}", *said]))
    return "\n".join(parts)


def write_certificates(folder: Path) -> None:
    """Write ca.crt, server.pem and server.key for 127.0.0.1, good for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    folder.mkdir(parents=True, exist_ok=True)

    def certificate(name: str, key, issuer: x509.Name, signer, authority: bool):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(not authority, False, not authority, False, False, authority, authority, False, False),
                critical=True,
            )
        )
        if not authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(signer, hashes.SHA256())

    def pem(key) -> bytes:
        kind = serialization.PrivateFormat.PKCS8
        return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback CA")])
    ca = certificate("loopback CA", ca_key, ca_name, ca_key, True)
    server = certificate("localhost", key, ca_name, ca_key, False)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(pem(key))
    (folder / "server.key").chmod(0o600)


def write_node_key(folder: Path, name: str) -> None:
    """Write NAME (private) and NAME.pub of a SuperNode, as ``ssh-keygen -t ecdsa`` would."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    kind = serialization.PrivateFormat.OpenSSH
    private = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (folder / name).write_bytes(private)
    (folder / name).chmod(0o600)
    (folder / f"{name}.pub").write_bytes(public + b"\n")


class Loopback:
    """A federation of processes; use it as a context, which kills them all at the end.

    Parameters
    ----------
    folder : Path
        Logs, certificates, Flower's home and the SuperLink's database.
    tls : bool
        Encrypt, and let only registered SuperNodes in.
    simulation : int
        Instead of SuperNodes: so many virtual ones in Flower's Simulation Engine; 0 for none.
    patience : float
        Seconds that anything but the training itself may take.
    """

    def __init__(self, folder: Path, *, tls: bool = False, simulation: int = 0, patience: float = 60.0) -> None:
        self.folder, self.tls, self.simulation, self.patience = folder.resolve(), tls, simulation, patience
        self.port = free_port()
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.processes: dict[str, subprocess.Popen] = {}
        self.registered: set[str] = set()
        self.env = {**os.environ, **ENV, "FLWR_HOME": str(self.home), "FLWR_LOG_LEVEL": "INFO"}
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        lines = ["[superlink]", 'default = "loopback"', "[superlink.loopback]", f'address = "127.0.0.1:{self.port}"']
        if tls:
            write_certificates(self.folder / "certificates")
            lines.append(f'root-certificates = "{self.folder / "certificates" / "ca.crt"}"')
        else:
            lines.append("insecure = true")
        (self.home / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    def start(self, name: str, command: list[str], extra: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start a process in a group of its own, with its output in NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**self.env, **(extra or {})},
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """Kill a process and its group with -9."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def superlink(self) -> None:
        """Start the SuperLink, or start it again on the same port and database."""
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--database", str(self.folder / "superlink.db")]
        if self.simulation:
            command += ["--simulation", "--insecure"]
        elif self.tls:
            certificates = self.folder / "certificates"
            command += ["--ssl-ca-certfile", str(certificates / "ca.crt")]
            command += ["--ssl-certfile", str(certificates / "server.pem")]
            command += ["--ssl-keyfile", str(certificates / "server.key"), "--enable-supernode-auth"]
        else:
            command.append("--insecure")
        process = self.start("superlink", command)
        wait_for(lambda: listens(self.port) or process.poll() is not None, self.patience, "SuperLink")
        if process.poll() is not None:
            raise RuntimeError(f"the SuperLink ended; see {self.folder / 'superlink.log'}")

    def supernode(self, name: str, config: Mapping[str, object], extra: Mapping[str, str] | None = None) -> None:
        """Start a SuperNode with a node configuration and further environment variables.

        With TLS it has a key of its own under its name, registered once; so it stays who it is when started again.
        """
        words = " ".join(f"{k}={json.dumps(v)}" for k, v in config.items())
        command = ["flower-supernode", "--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port())]
        command += ["--node-config", words]
        if self.tls:
            keys = self.folder / "certificates"
            if name not in self.registered:
                write_node_key(keys, name)
                self.flwr("supernode", "register", str(keys / f"{name}.pub"), "loopback")
                self.registered.add(name)
            command += ["--root-certificates", str(keys / "ca.crt"), "--auth-supernode-private-key", str(keys / name)]
        else:
            command.append("--insecure")
        self.start(name, command, extra)

    def flwr(self, *words: str) -> str:
        """Run ``flwr`` to its end and return what it has printed; RuntimeError if it fails."""
        done = subprocess.run(
            ["flwr", *words],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=self.patience,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        with (self.folder / "flwr.log").open("a", encoding="utf-8") as log:
            log.write(f"$ flwr {' '.join(words)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise RuntimeError(f"flwr {words[0]} failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        return done.stdout

    def submit(self, app: Path, run_config: Mapping[str, object]) -> None:
        """Hand an app to the SuperLink, which starts its ServerApp; the run's log goes to run.log."""
        words = " ".join(f"{k}={json.dumps(v)}" for k, v in run_config.items())
        self.kill("run")
        command = ["flwr", "run", str(app), "loopback", "--run-config", words, "--stream"]
        if self.simulation:
            # One CPU: with more than there are, Ray's pool of actors stays empty and the run hangs.
            one = f"num-supernodes={self.simulation} client-resources-num-cpus=1 init-args-num-cpus=1"
            command += ["--federation-config", one]
        self.start("run", command)

    def ended(self) -> bool:
        """Tell whether the run has ended, well or not."""
        return self.processes["run"].poll() is not None


def rehearse(
    app: Path,
    folder: Path,
    *,
    nodes: int = 3,
    malicious: Mapping[int, str] | None = None,
    tls: bool = False,
    kill_after: int | None = None,
    run_config: Mapping[str, object] | None = None,
    minutes: float = 10.0,
    restart_node: int | None = None,
    simulation: bool = False,
    say: Callable[[str], None] = print,
) -> dict:
    """Run an app whose ServerApp writes ``out-folder``/result.json when it has finished; return that.

    Beside it, ``rounds`` are the lines of its log of verdicts, and ``places`` tells which SuperNode has which node id
    (empty in a simulation).

    Parameters
    ----------
    app, folder : Path
        The app, and where everything is kept.
    nodes : int
        Number of SuperNodes.
    malicious : mapping of int to str
        Attack of each malicious node: its process gets ``FEDSIEGE_RED=ATTACK:NODE``, which the example apps read.
    tls : bool
        TLS with node authentication.
    kill_after : int, optional
        Kill the SuperLink (and the ServerApp with it) with -9 after this round, and start it again.
    run_config : mapping, optional
        Changes to the app's run configuration.
    minutes : float
        Hard limit for all of it.
    restart_node : int, optional
        Also kill this node with -9, and start it again, when the SuperLink is down.
    simulation : bool
        Run in Flower's Simulation Engine instead, with `nodes` virtual SuperNodes.
    say : callable
        Told what happens.
    """
    started = time.monotonic()
    out = folder.resolve() / "out"
    config = {**(run_config or {}), "out-folder": str(out)}
    red = dict(malicious or {})

    def said(words: str) -> None:
        say(f"{time.monotonic() - started:6.1f} s  {words}")

    def left() -> float:
        return max(1.0, 60 * minutes - (time.monotonic() - started))

    def node(federation: Loopback, i: int) -> None:
        where = {"partition-id": i, "num-partitions": nodes, "data-folder": str(folder.resolve() / f"node-{i}")}
        federation.supernode(f"node-{i}", where, {"FEDSIEGE_RED": f"{red[i]}:{i}"} if i in red else None)

    with Loopback(folder, tls=tls, simulation=nodes if simulation else 0) as federation:
        if simulation and red:
            (attack,) = set(red.values())
            federation.env["FEDSIEGE_RED"] = f"{attack}:{','.join(map(str, red))}"
        federation.superlink()
        how = "simulation" if simulation else f"TLS and node authentication {'on' if tls else 'off'}"
        said(f"SuperLink on 127.0.0.1:{federation.port}, {how}")
        for i in range(0 if simulation else nodes):
            node(federation, i)
        federation.submit(app, config)
        said(f"{nodes} SuperNodes; run submitted; malicious: {red or 'none'}")
        if kill_after is not None:
            wait_for(lambda: len(rounds_in(out)) >= kill_after or federation.ended(), left(), f"round {kill_after}")
            if federation.ended():
                raise RuntimeError(f"the run ended too soon; see {folder / 'run.log'}")
            federation.kill("superlink")
            said(f"SuperLink killed with -9 after round {len(rounds_in(out))}")
            kept = {p.name: sorted(f.name for f in p.iterdir()) for p in sorted(folder.glob("node-*")) if p.is_dir()}
            for name, files in kept.items():
                said(f"on the disk of {name}: {', '.join(files)}")
            if restart_node is not None:
                federation.kill(f"node-{restart_node}")
                said(f"SuperNode {restart_node} killed with -9")
            federation.superlink()
            if restart_node is not None:
                node(federation, restart_node)
            federation.submit(app, config)
            said("SuperLink started again; run submitted again")

        def finished() -> bool:
            # A node that comes back too soon is refused while its last heartbeat counts, and ends; a service manager
            # would start it again.
            for i in range(0 if simulation else nodes):
                ended = federation.processes[f"node-{i}"].poll() is not None
                if ended and time.monotonic() > again.get(i, 0.0):
                    again[i] = time.monotonic() + 10
                    node(federation, i)
            return (out / "result.json").is_file() or federation.ended()

        again: dict[int, float] = {}
        try:
            wait_for(finished, left(), "end of the run")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; rounds done: {len(rounds_in(out))}\n{last_words(folder)}") from error
        if not (out / "result.json").is_file():
            raise RuntimeError(f"the run ended without a result; see {folder / 'run.log'}")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    said(f"done: {json.dumps(result)}")
    return {**result, "rounds": rounds_in(out), "places": places_in(folder, 0 if simulation else nodes)}


def main() -> None:
    """Read the command line and run an app."""
    parser = argparse.ArgumentParser(description="Run a Flower app on loopback with real SuperNodes.")
    parser.add_argument("app", type=Path)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--malicious", type=int, nargs="*", default=[], help="nodes that are malicious")
    parser.add_argument("--attack", default="signflip")
    parser.add_argument("--simulation", action="store_true", help="in Flower's Simulation Engine, without SuperNodes")
    parser.add_argument("--tls", action="store_true", help="TLS with node authentication")
    parser.add_argument("--kill-after", type=int, help="kill the SuperLink with -9 after this round")
    parser.add_argument("--restart-node", type=int, help="kill and start this node then, too")
    parser.add_argument("--run-config", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--minutes", type=float, default=10.0, help="hard limit")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--log", type=Path, help="append the run to this file: command, versions, settings, verdicts")
    parser.add_argument("--title", default="", help="what the run is for, in the log")
    args = parser.parse_args()
    if importlib.util.find_spec("flwr") is None:
        sys.exit("loopback.py needs Flower; in a clone of FedSiege run: pip install -e '.[flower]'")
    # Ended from outside, this process must not leave the others behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    changes = {}
    for word in args.run_config:
        key, _, value = word.partition("=")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            changes[key] = value
    red = dict.fromkeys(args.malicious, args.attack)
    lines: list[str] = []

    def say(words: str) -> None:
        print(words, flush=True)
        lines.append(words)

    result = rehearse(
        args.app.resolve(),
        args.out,
        nodes=args.nodes,
        malicious=red,
        tls=args.tls,
        kill_after=args.kill_after,
        run_config=changes,
        minutes=args.minutes,
        restart_node=args.restart_node,
        simulation=args.simulation,
        say=say,
    )
    if args.log is not None:
        # Beside this file: on the path of a script, not of what imports it.
        from runlog import entry

        with args.log.open("a", encoding="utf-8") as log:
            # The last line said is the result, which the entry has too.
            log.write(entry(args.title, sys.argv, args.app.resolve(), changes, lines[:-1], result, red))
    for line in result["rounds"]:
        for one in line["uploads"]:
            verdict = "expelled" if one["expelled"] else "accepted" if one["accepted"] else "rejected"
            print(f"round {line['round']:2d}  client {one['client']}  {verdict}  {one['reason']}")


if __name__ == "__main__":
    main()
