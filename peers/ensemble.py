"""Three nodes of a system on loopback, started and stopped again."""

import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

NODES = 3
# How long an ensemble may take to form, and a node to end when it is asked to.
FORM_SECONDS = 60
END_SECONDS = 5
PR_SET_PDEATHSIG = 1


class Trouble(Exception):
    """Something that the person who runs the comparison has to know."""


def tell(text):
    """Of progress."""
    print(text, file=sys.stderr, flush=True)


class Ensemble:
    """What all kinds have in common. Use it in a `with`: its processes end with that."""

    name = package = None
    # Ports that each node needs.
    ports_each = 2

    def __init__(self, root):
        self.root = root
        ports = free_ports(NODES * self.ports_each)
        self.ports = [ports[i * self.ports_each :][: self.ports_each] for i in range(NODES)]
        self.processes = [None] * NODES

    def __enter__(self):
        try:
            for node in range(NODES):
                os.makedirs(self.directory(node))
                self.start(node)
            self.wait_for_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def directory(self, node):
        return os.path.join(self.root, f"{self.name}-{node + 1}")

    def nodes(self):
        """Where the nodes answer clients, as the generator takes it."""
        return ",".join(f"127.0.0.1:{ports[0]}" for ports in self.ports)

    def pids(self):
        return [process.pid for process in self.processes]

    def start(self, node):
        """Starts a node with the data it has."""
        with open(os.path.join(self.directory(node), "log"), "ab") as log:
            self.processes[node] = subprocess.Popen(
                self.command(node),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory(node),
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def restart(self, node):
        """Starts a node again that was killed."""
        self.processes[node].wait()
        self.start(node)

    def leads(self, node):
        """Whether a node leads; None if it does not serve."""
        try:
            return self.ask(node)
        except (OSError, ValueError, KeyError):
            return None

    def leader(self):
        """The node that leads; None unless all serve and one leads."""
        said = [self.leads(node) for node in range(NODES)]
        return said.index(True) if None not in said and said.count(True) == 1 else None

    def wait_for_all(self):
        """Waits until all nodes serve; says which of them leads."""
        end = time.monotonic() + FORM_SECONDS
        while time.monotonic() < end:
            leader = self.leader()
            if leader is not None:
                return leader
            for node, process in enumerate(self.processes):
                if process.poll() is not None:
                    raise Trouble(f"a node of {self.name} ended by itself:\n{self.log_end(node)}")
            time.sleep(0.05)
        raise Trouble(f"{self.name} took no requests after {FORM_SECONDS} s:\n{self.log_end(0)}")

    def log_end(self, node):
        with open(os.path.join(self.directory(node), "log"), errors="replace") as log:
            return "".join(f"  | {line.rstrip()}\n" for line in log.readlines()[-15:])

    def stop(self):
        running = [process for process in self.processes if process is not None]
        for process in running:
            process.terminate()
        end = time.monotonic() + END_SECONDS
        for process in running:
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Zabkeeper(Ensemble):
    """With its default settings."""

    name = "zabkeeper"
    # Of clients, messages and election.
    ports_each = 3

    def __init__(self, root, program):
        super().__init__(root)
        self.program = program

    def command(self, node):
        address = [[f"127.0.0.1:{port}" for port in ports] for ports in self.ports]
        peers = [
            {"ElectionAddr": election, "MessageAddr": message} for _, message, election in address
        ]
        host = {"RequestAddr": address[node][0], **peers[node]}
        config = {"DataDir": os.path.join(self.directory(node), "data"), "Host": host, "Peer": peers}
        file = os.path.join(self.directory(node), "config.json")
        write(file, json.dumps(config))
        return [self.program, "server", f"--config={file}"]

    def ask(self, node):
        address = f"127.0.0.1:{self.ports[node][0]}"
        command = [self.program, "status", f"--endpoints={address}", "--timeout=1s", "--output=json"]
        status = json.loads(subprocess.run(command, capture_output=True).stdout)
        own = next(each for each in status["nodes"] if each.get("address") == address)
        if not own["serving"]:
            raise ValueError("it does not serve")
        return own["role"] == "leading"

    def client(self, *arguments):
        """Runs a client to its end."""
        command = [self.program, *arguments, f"--endpoints={self.nodes()}"]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Trouble(f"{' '.join(command)} failed:\n{ran.stderr[-2000:]}")

    def kill(self):
        """Kills all nodes, and waits until they are gone."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def resident(self):
        """The mean memory of a node."""
        return statistics.mean(map(resident, self.pids()))


def resident(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class ZooKeeper(Ensemble):
    """Of Debian's package, with the heap and the timing that it has by default."""

    name = package = "zookeeper"
    ports_each = 3
    jars = [f"/usr/share/java/{jar}.jar" for jar in ("zookeeper", "slf4j-simple")]

    @classmethod
    def missing(cls):
        return not shutil.which("java") or not all(map(os.path.exists, cls.jars))

    @classmethod
    def does(cls, load):
        return load != "read"

    @classmethod
    def protocol(cls, _load):
        return "zookeeper"

    @classmethod
    def version(cls):
        # The package has a link to the jar whose name tells.
        links = glob.glob(cls.jars[0].replace(".jar", "-[0-9]*.jar"))
        return os.path.basename(min(links, default=cls.jars[0])).removesuffix(".jar")

    def command(self, node):
        directory, (client, *_) = self.directory(node), self.ports[node]
        lines = [
            "tickTime=2000",
            "initLimit=10",
            "syncLimit=5",
            f"dataDir={directory}",
            "clientPortAddress=127.0.0.1",
            f"clientPort={client}",
            "maxClientCnxns=0",
            "admin.enableServer=false",
        ]
        for number, (_, quorum, election) in enumerate(self.ports, 1):
            lines.append(f"server.{number}=127.0.0.1:{quorum}:{election}")
        write(os.path.join(directory, "zoo.cfg"), "\n".join(lines) + "\n")
        write(os.path.join(directory, "myid"), f"{node + 1}\n")
        return [
            "java",
            "-Xmx1000m",
            "-Djava.net.preferIPv4Stack=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            ":".join(self.jars),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            "zoo.cfg",
        ]

    def ask(self, node):
        with socket.create_connection(("127.0.0.1", self.ports[node][0]), 0.5) as connection:
            connection.settimeout(0.5)
            connection.sendall(b"srvr")
            said = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        modes = [line.split()[1] for line in said.splitlines() if line.startswith("Mode: ")]
        return modes[0] == "leader" if modes else None


class Etcd(Ensemble):
    """Of Debian's package, with default timing, and room for all the versions of a long run."""

    name = "etcd"
    package = "etcd-server"

    @classmethod
    def missing(cls):
        return not shutil.which("etcd")

    @classmethod
    def does(cls, _load):
        return True

    @classmethod
    def protocol(cls, load):
        return "etcd-local" if load == "local-read" else "etcd"

    @classmethod
    def version(cls):
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return "etcd-" + said.stdout.splitlines()[0].split()[-1]

    def command(self, node):
        urls = [[f"http://127.0.0.1:{port}" for port in ports] for ports in self.ports]
        client, peer = urls[node]
        options = {
            "name": f"n{node + 1}",
            "data-dir": "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"n{n}={url[1]}" for n, url in enumerate(urls, 1)),
            "quota-backend-bytes": 8 << 30,
            "logger": "zap",
            "log-level": "error",
        }
        return ["etcd", *(f"--{name}={value}" for name, value in options.items())]

    def ask(self, node):
        url = f"http://127.0.0.1:{self.ports[node][0]}/v3/maintenance/status"
        with urllib.request.urlopen(url, b"{}", timeout=0.5) as said:
            status = json.load(said)
        return status["leader"] == status["header"]["member_id"]


def free_ports(count):
    """Ports of loopback that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def end_with_parent():
    """In a child: it is killed when the comparison is, whatever ends that."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
