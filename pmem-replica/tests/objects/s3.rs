//! The same in a bucket: of `moto_server`, where there is one.

use crate::{bytes, label, push, read};
use pmem_replica::objects::{Error, Keep, Kind, Place, Store};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ENDPOINT: &str = "OBJECTS_TEST_ENDPOINT";
const MIB: usize = 1 << 20;

/// A server that ends with this value.
struct Server(Child, u16);

impl Server {
    fn start() -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?, port);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.0.try_wait().unwrap().is_some() || started.elapsed() > Duration::from_secs(60) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    fn make_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1)).unwrap();
        let host = format!("127.0.0.1:{}", self.1);
        write!(
            stream,
            "PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// No test of its own: the environment has what it needs to know.
#[test]
fn child_process() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else { return };
    let open = |url: &str| Store::open(&Place::parse(url, Some(&endpoint)).unwrap()).unwrap();
    let store = open("s3://bucket/some/prefix");
    assert!(store.list().unwrap().manifests.is_empty());
    let content = bytes(1, 9 * MIB);
    let first = push(&store, label(Kind::Snapshot, 1, None), &content);
    assert_eq!((first.sent, first.found), (9 * MIB as u64, 0));
    push(&store, label(Kind::Snapshot, 2, Some(1)), &bytes(2, MIB));
    push(&store, label(Kind::Snapshot, 3, None), &content[..8 * MIB]);
    let all = open("s3://bucket/some/prefix/").list().unwrap().manifests;
    assert_eq!(all.len(), 3);
    assert!(read(&store, &all[0]).unwrap() == content && read(&store, &all[1]).unwrap() == bytes(2, MIB));
    assert!(open("s3://bucket/other").list().unwrap().manifests.is_empty(), "a prefix of its own");
    let pruned = store.prune(Keep { newest: 1, force: false }).unwrap();
    assert_eq!((pruned.kept, pruned.removed.len(), pruned.chunks), (1, 2, 2));
    assert!(read(&store, &all[2]).unwrap() == content[..8 * MIB]);
    let gone = read(&store, &all[0]).unwrap_err();
    let why = gone.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(why, Some(Error::MissingChunk { number: 2, .. })), "{gone}");
    let nowhere = open("s3://no-such-bucket/prefix").list();
    assert!(matches!(nowhere, Err(Error::Storage { .. })), "{nowhere:?}");
    println!("in a bucket");
}

#[test]
fn a_bucket_is_as_good_as_a_folder() {
    let Some(server) = Server::start() else {
        println!(
            "SKIPPED: moto_server is missing; install it (pip install 'moto[server]') and run this again"
        );
        return;
    };
    server.make_bucket("bucket");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::child_process", "--nocapture"])
        .env(ENDPOINT, format!("http://127.0.0.1:{}", server.1))
        .envs([
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ])
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("in a bucket"), "{said}");
}
