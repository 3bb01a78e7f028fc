//! Three real servers with JetStream, on loopback, in a folder of their own: for tests, benchmarks and examples.
#![allow(dead_code, reason = "not every user needs all of it")]

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

/// What to do where there is no server.
pub(crate) const INSTALL: &str =
    "nats-server is missing; install it (Debian, Ubuntu: apt-get install nats-server) and run this again";

/// A cluster. Its servers end with this value, and with this process, however that ends.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    servers: Mutex<Vec<Option<Server>>>,
}

/// A server, and a shell that ends it when this process is gone: its standard input is a pipe from here.
struct Server {
    shell: Child,
    pid: i32,
}

impl Server {
    fn start(config: &PathBuf) -> Server {
        let script =
            r#"nats-server -c "$0" >/dev/null 2>&1 & echo $!; read -r gone; kill -9 $! 2>/dev/null; wait"#;
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut line).expect("the server's pid");
        Server { shell, pid: line.trim().parse().expect("a number") }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the process was started here and was not waited for: the number is its own.
        unsafe { libc::kill(self.pid, signal) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take()); // the shell kills the server
        _ = self.shell.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// Starts three servers, and waits until they can store something. `None` where there is no `nats-server`.
    pub(crate) fn start() -> Option<Cluster> {
        Cluster::start_with("")
    }

    /// The same with more lines of configuration.
    pub(crate) fn start_with(more: &str) -> Option<Cluster> {
        let version = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (ports, routes): (Vec<u16>, Vec<u16>) = (0..3).map(|_| (free_port(), free_port())).unzip();
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        for (i, (port, route)) in ports.iter().zip(&routes).enumerate() {
            let store = folder.path().join(format!("store{i}"));
            let config = format!(
                "server_name: n{i}\nlisten: 127.0.0.1:{port}\n\
                 jetstream {{ store_dir: {store:?}, max_file_store: 8G, max_memory_store: 256M }}\n\
                 cluster {{ name: pools, listen: 127.0.0.1:{route}, routes: [{}] }}\n{more}\n",
                all.join(", ")
            );
            std::fs::write(folder.path().join(format!("n{i}.conf")), config).unwrap();
        }
        let cluster = Cluster { folder, ports, servers: Mutex::new([const { None }; 3].into()) };
        (0..3).for_each(|i| cluster.start_server(i));
        Some(cluster)
    }

    /// Addresses of all servers.
    pub(crate) fn url(&self) -> String {
        let urls: Vec<String> = self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    pub(crate) fn port(&self, server: usize) -> u16 {
        self.ports[server]
    }

    /// Kills a server, as SIGKILL does.
    pub(crate) fn kill(&self, server: usize) {
        if let Some(server) = self.servers.lock().unwrap()[server].take() {
            server.signal(libc::SIGKILL);
        }
    }

    /// Starts a server that was killed, and waits until it listens.
    pub(crate) fn start_server(&self, server: usize) {
        let config = self.folder.path().join(format!("n{server}.conf"));
        self.servers.lock().unwrap()[server] = Some(Server::start(&config));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.ports[server])).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "server {server} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
