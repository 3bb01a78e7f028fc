//! What cannot be right stops, says what is missing, and says what to do.

use crate::bank::{MINUTE, Pair, audit, config, options, servers, transfer};
use pmem_alloc::Pool;
use pmem_replica::{Config, Error, Follower, Primary, async_nats};
use std::{
    future::Future,
    time::{Duration, Instant},
};

fn with_client<T, F: Future<Output = T>>(
    servers: &str,
    work: impl FnOnce(async_nats::jetstream::Context) -> F,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let addresses: Vec<&str> = servers.split(',').collect();
        let client = async_nats::connect(addresses).await.unwrap();
        work(async_nats::jetstream::new(client)).await
    })
}

/// The lease says that so many more records were committed.
pub(crate) fn say_in_lease(servers: &str, name: &str, more: u64) {
    with_client(servers, |context| async move {
        let bucket = context.get_key_value("pools").await.unwrap();
        let key = format!("{name}.primary");
        let value = bucket.get(&key).await.unwrap().unwrap();
        let (holder, term, _, millis): (u64, u64, u64, u64) = postcard::from_bytes(&value).unwrap();
        let told = told_by_stream(&context, name).await + more;
        let value = postcard::to_stdvec(&(holder, term, told, millis)).unwrap();
        bucket.put(&key, value.into()).await.unwrap();
    });
}

/// The last record that is whole, as the stream's last message says.
async fn told_by_stream(context: &async_nats::jetstream::Context, name: &str) -> u64 {
    let stream = context.get_stream(format!("pool_{name}")).await.unwrap();
    let last = stream.get_raw_message(stream.cached_info().state.last_sequence).await.unwrap();
    let ((_, _, _, _, complete), _): ((u64, u64, u64, u64, u64), _) =
        postcard::take_from_bytes(&last.payload[12..]).unwrap();
    complete
}

fn stopped(follower: &Follower) -> std::sync::Arc<Error> {
    let started = Instant::now();
    loop {
        if let Some(error) = follower.error() {
            return error;
        }
        assert!(started.elapsed() < MINUTE, "{follower:?} goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_follower_that_misses_messages_says_which_and_how_to_go_on() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "gap"));
    let primary = pair.create();
    drop(pair.seed(&primary, "follower"));
    primary.forget("follower").unwrap();
    let ahead = pair.seed(&primary, "ahead");
    for _ in 0..20 {
        transfer(primary.pool()).unwrap();
        primary.flush(MINUTE).unwrap();
    }
    assert!(ahead.wait_for(primary.status().committed, MINUTE));
    drop(ahead);
    primary.trim().unwrap();
    let follower = pair.follow("follower").unwrap();
    let error = stopped(&follower);
    println!("{error}");
    let Error::Gap { what: "messages", missing, .. } = &*error else { panic!("{error}") };
    assert!(missing.end - missing.start >= 19, "{missing:?}");
    assert!(error.to_string().contains("seed it again"));
    assert_eq!(audit(follower.pool()), 0, "it can be read still");
    // Nor may one that is well take a living primary's place.
    let well = pair.seed(&primary, "well");
    // SAFETY: files of this test alone.
    let refused = unsafe { well.promote(&options()) };
    assert!(matches!(refused, Err(Error::PrimaryLives { .. })), "{refused:?}");
    // SAFETY: files of this test alone.
    let refused = unsafe { follower.promote(&options()) };
    assert!(matches!(refused, Err(Error::Stopped(_))), "{refused:?}");
}

#[test]
fn a_damaged_message_stops_a_follower_and_nothing_of_it_is_applied() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "damaged"));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    transfer(primary.pool()).unwrap();
    primary.flush(MINUTE).unwrap();
    let record = primary.status().committed;
    assert!(follower.wait_for(record, MINUTE));
    drop(primary);
    // The last message again, with one bit changed.
    let message = with_client(&servers.url(), |context| async move {
        let stream = context.get_stream("pool_damaged").await.unwrap();
        let last = stream.get_raw_message(stream.cached_info().state.last_sequence).await.unwrap();
        let mut payload = last.payload.to_vec();
        *payload.last_mut().unwrap() ^= 1;
        context.publish("pool.damaged", payload.into()).await.unwrap().await.unwrap().sequence
    });
    let error = stopped(&follower);
    assert!(matches!(&*error, Error::DamagedMessage { message: at, .. } if *at == message), "{error}");
    assert_eq!((follower.status().record, audit(follower.pool())), (record, 1));
    // Nor does the primary go on after what is not its own.
    let opened = pair.open();
    assert!(matches!(opened, Err(Error::DamagedMessage { .. })), "{opened:?}");
}

#[test]
fn messages_of_an_earlier_term_stop_a_follower() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "old-term"));
    let primary = pair.create();
    primary.flush(MINUTE).unwrap();
    let old = with_client(&servers.url(), |context| async move {
        let stream = context.get_stream("pool_old-term").await.unwrap();
        stream.get_raw_message(stream.cached_info().state.last_sequence).await.unwrap().payload
    });
    drop(primary);
    let primary = pair.open().unwrap();
    let follower = pair.seed(&primary, "follower");
    transfer(primary.pool()).unwrap();
    assert!(follower.wait_for(primary.status().committed, MINUTE));
    drop(primary);
    with_client(&servers.url(), |context| async move {
        context.publish("pool.old-term", old).await.unwrap().await.unwrap();
    });
    let error = stopped(&follower);
    assert!(matches!(&*error, Error::WrongTerm { .. }), "{error}");
}

#[test]
fn pools_that_are_not_what_they_should_be_are_refused() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "refused"));
    let primary = pair.create();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(pair.path("seed"), "seed") }.unwrap();
    // A stream has one primary.
    // SAFETY: as above.
    let second = unsafe { Primary::create(pair.path("second"), &options(), &pair.config) };
    assert!(matches!(second, Err(Error::StreamExists { .. })), "{second:?}");
    // A seed follows; it is no primary, and nobody's primary.
    // SAFETY: as above.
    let opened = unsafe { Primary::open(pair.path("seed"), &options(), &pair.config) };
    assert!(matches!(opened, Err(Error::NoOutbox { .. })), "{opened:?}");
    let elsewhere = Config::new(&servers.url(), "elsewhere").patience(MINUTE);
    // SAFETY: as above.
    let created = unsafe { Primary::create(pair.path("seed"), &options(), &elsewhere) };
    assert!(matches!(created, Err(Error::IsAFollower)), "{created:?}");
    // A primary follows nobody, and a seed follows its own stream only.
    // SAFETY: as above.
    let other = unsafe { Primary::create(pair.path("other"), &options(), &elsewhere) }.unwrap();
    // SAFETY: as above.
    let followed = unsafe { Follower::open(pair.path("seed"), &options(), &elsewhere, "seed") };
    assert!(matches!(followed, Err(Error::WrongStream { .. })), "{followed:?}");
    drop(other);
    // SAFETY: as above.
    let followed = unsafe { Follower::open(pair.path("other"), &options(), &elsewhere, "other") };
    assert!(matches!(followed, Err(Error::NotAFollower)), "{followed:?}");
    let bad = Config::new(&servers.url(), "a.b");
    assert!(matches!(
        // SAFETY: as above.
        unsafe { Primary::open(pair.path("other"), &options(), &bad) },
        Err(Error::BadName { .. })
    ));
    // A pool that was changed without its outbox has commits that nobody could tell.
    drop(primary);
    // SAFETY: as above.
    let alone = unsafe { Pool::open(pair.path("primary")) }.unwrap();
    transfer(&alone).unwrap();
    alone.close().unwrap();
    // SAFETY: as above.
    drop(unsafe { Pool::open(pair.path("primary")) }.unwrap());
    let opened = pair.open();
    let Err(error) = opened else { panic!("{opened:?}") };
    assert!(error.to_string().contains("create a new primary"), "{error}");
}
