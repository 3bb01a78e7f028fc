//! Replication, against real servers. Where `nats-server` is missing each test says that it is skipped.

#[path = "../cluster/mod.rs"]
mod cluster;

mod bank;
mod failover;
mod follow;
mod kill;
mod network;
mod overview;
mod tls;
mod wrong;
