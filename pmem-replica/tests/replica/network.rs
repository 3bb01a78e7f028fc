//! A network that is cut: by a small proxy between one side and the servers.

use crate::bank::{MINUTE, Pair, audit, balances, config, expected, servers, transfer};
use pmem_alloc::ErrorKind;
use pmem_replica::{Beyond, Bound, Config, Error, Mode, async_nats::ConnectOptions};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// Passes bytes on to a server, until it is cut.
pub(crate) struct Proxy {
    port: u16,
    /// The connections; `None` while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
    /// Whether it keeps what goes to the server, and what comes from there, instead of passing it on.
    swallows: Arc<[AtomicBool; 2]>,
}

impl Proxy {
    pub(crate) fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let swallows = Arc::new([const { AtomicBool::new(false) }; 2]);
        let (accepted, swallowed) = (open.clone(), swallows.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut open = accepted.lock().unwrap();
                let Some(open) = open.as_mut() else { continue }; // closed at once
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (way, (from, to)) in [(&client, &server), (&server, &client)].into_iter().enumerate() {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let swallows = swallowed.clone();
                    std::thread::spawn(move || pass(from, to, &swallows[way]));
                }
            }
        });
        Proxy { port, open, swallows }
    }

    /// Nothing gets through any more.
    pub(crate) fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What goes to the server, or comes from there, gets lost, and nobody is told: the connections stay.
    pub(crate) fn swallow(&self, way: Way) {
        self.swallows[way as usize].store(true, Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.swallows.iter().for_each(|swallows| swallows.store(false, Relaxed));
        self.open.lock().unwrap().get_or_insert_default();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Replication through this proxy and through nothing else.
    pub(crate) fn config(&self, name: &str) -> Config {
        Config::new(&self.url(), name)
            .lease(Duration::from_secs(2))
            .patience(MINUTE)
            .connect_with(|| ConnectOptions::new().ignore_discovered_servers())
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    ToServer,
    FromServer,
}

/// After what was swallowed nothing makes sense: it swallows everything from then on, until the connection is given up.
fn pass(mut from: TcpStream, mut to: TcpStream, swallows: &AtomicBool) {
    let (mut bytes, mut swallowed) = ([0; 16 << 10], false);
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        match (swallows.load(Relaxed), swallowed) {
            (true, _) => {
                swallowed = true;
                continue;
            }
            (false, true) => break, // as after a route is back, to which the other side's connection is unknown
            (false, false) => {}
        }
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn why(refused: &pmem_alloc::Error) -> &Error {
    match refused.kind() {
        ErrorKind::Refused(why) => why.downcast_ref().expect("an error of replication"),
        _ => panic!("{refused}"),
    }
}

#[test]
fn writers_go_on_fail_or_wait_as_configured_while_the_network_is_cut_and_all_resumes() {
    let Some(servers) = servers() else { return };
    let few = |beyond| Bound { records: 10, age: MINUTE, beyond, ..Bound::default() };
    for (name, beyond) in [
        ("cut-warn", Beyond::Warn),
        ("cut-refuse", Beyond::Refuse),
        ("cut-wait", Beyond::Wait(MINUTE)),
        ("cut-wait-little", Beyond::Wait(Duration::from_millis(50))),
    ] {
        let proxy = Proxy::start(servers.port(1));
        let pair = Pair::new(proxy.config(name).bound(few(beyond)));
        let primary = pair.create();
        let follower = pair.seed(&primary, "follower");
        primary.flush(MINUTE).unwrap();
        proxy.cut();
        let mut done = 0;
        let refused = loop {
            if beyond == Beyond::Wait(MINUTE) && primary.status().beyond_bound {
                // It waits until the network is back, and then is done.
                done = std::thread::scope(|s| {
                    let waits = s.spawn(|| transfer(primary.pool()).unwrap());
                    assert!(!waits.is_finished());
                    proxy.mend();
                    waits.join().unwrap()
                });
                break None;
            }
            match transfer(primary.pool()) {
                Ok(number) => done = number,
                Err(e) => break Some(e),
            }
            if done == 50 {
                break None;
            }
        };
        match beyond {
            Beyond::Warn => assert!(refused.is_none() && done == 50 && primary.status().beyond_bound),
            Beyond::Wait(MINUTE) => assert_eq!(done, 12),
            _ => {
                let Error::Lagging { records, .. } = why(refused.as_ref().unwrap()) else {
                    panic!("{refused:?}")
                };
                assert_eq!((*records, done), (11, 11));
            }
        }
        proxy.mend();
        primary.flush(MINUTE).unwrap();
        done = transfer(primary.pool()).unwrap();
        let committed = primary.status().committed;
        assert!(follower.wait_for(committed, MINUTE), "{name}: {follower:?}");
        assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
        assert_eq!(audit(follower.pool()), done);
        println!("{name}: {done} transfers");
    }
}

#[test]
fn a_synchronous_commit_that_the_stream_does_not_acknowledge_says_so_and_comes_later() {
    let Some(servers) = servers() else { return };
    let proxy = Proxy::start(servers.port(2));
    let pair = Pair::new(proxy.config("cut-sync").mode(Mode::Sync { timeout: Duration::from_millis(200) }));
    let direct = Pair { folder: crate::bank::folder(), config: config(servers, "cut-sync") };
    let mut primary = pair.create();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(direct.path("follower"), "follower") }.unwrap();
    let follower = direct.follow("follower").unwrap();
    for round in 1..=3 {
        proxy.cut();
        let refused = transfer(primary.pool()).unwrap_err();
        assert!(matches!(why(&refused), Error::NotReplicated { .. }), "{refused}");
        assert_eq!(audit(primary.pool()), round, "it is here");
        if round == 2 {
            // And is in the outbox, when the primary is closed meanwhile.
            drop(primary);
            proxy.mend();
            primary = pair.open().unwrap();
        }
        proxy.mend();
        primary.flush(MINUTE).unwrap();
        assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
        assert_eq!(balances(follower.pool()), expected(round));
    }
}

#[test]
fn a_network_that_swallows_either_way_without_a_word_is_noticed_and_all_resumes() {
    let Some(servers) = servers() else { return };
    let proxy = Proxy::start(servers.port(0));
    let config = proxy.config("swallowed").mode(Mode::Sync { timeout: Duration::from_millis(300) });
    let pair = Pair::new(config);
    let direct = Pair { folder: crate::bank::folder(), config: self::config(servers, "swallowed") };
    let primary = pair.create();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(direct.path("follower"), "follower") }.unwrap();
    let follower = direct.follow("follower").unwrap();
    for (round, way) in [Way::ToServer, Way::FromServer, Way::ToServer].into_iter().enumerate() {
        transfer(primary.pool()).unwrap();
        proxy.swallow(way);
        let refused = transfer(primary.pool()).unwrap_err();
        assert!(matches!(why(&refused), Error::NotReplicated { .. }), "{way:?}: {refused}");
        proxy.mend();
        primary.flush(MINUTE).unwrap();
        assert!(follower.wait_for(primary.status().committed, MINUTE), "{way:?}: {follower:?}");
        assert_eq!(balances(follower.pool()), expected(2 * (round as u64 + 1)), "{way:?}: nothing twice");
    }
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
}

#[test]
fn a_follower_whose_network_is_cut_goes_on_when_it_is_back() {
    let Some(servers) = servers() else { return };
    let proxy = Proxy::start(servers.port(0));
    let pair = Pair::new(config(servers, "cut-follower"));
    let through = Pair { folder: crate::bank::folder(), config: proxy.config("cut-follower") };
    let primary = pair.create();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(through.path("follower"), "follower") }.unwrap();
    let follower = through.follow("follower").unwrap();
    for round in 1..=4 {
        proxy.cut();
        for _ in 0..50 {
            transfer(primary.pool()).unwrap();
        }
        primary.flush(MINUTE).unwrap();
        assert!(audit(follower.pool()) <= round * 50);
        proxy.mend();
        assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
    }
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
}

#[test]
fn without_the_right_credentials_nothing_connects() {
    let locked = "authorization { user: pool, password: secret }";
    let Some(servers) = crate::cluster::Cluster::start_with(locked) else {
        println!("SKIPPED: {}", crate::cluster::INSTALL);
        return;
    };
    let with = |user: &'static str, password: &'static str| {
        config(&servers, "locked")
            .connect_with(move || ConnectOptions::with_user_and_password(user.into(), password.into()))
    };
    let none = config(&servers, "locked");
    let tls = config(&servers, "locked").connect_with(|| {
        ConnectOptions::with_user_and_password("pool".into(), "secret".into()).require_tls(true)
    });
    for wrong in [none, with("pool", "guess"), tls] {
        let pair = Pair::new(wrong.patience(Duration::ZERO));
        // SAFETY: files of this test alone.
        let refused = unsafe {
            pmem_replica::Primary::create(pair.path("primary"), &crate::bank::options(), &pair.config)
        };
        assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
    }
    let pair = Pair::new(with("pool", "secret"));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    transfer(primary.pool()).unwrap();
    assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
}
