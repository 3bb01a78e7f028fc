//! Mappings as their users meet them: files, locks, growth, faults, forks.

#![cfg(not(miri))]

mod backings;
mod children;
mod counting;
mod decisions;
mod faults;
mod files;
mod folder;
mod forks;
mod growth;
mod hooks;
mod keys;
mod large_pages;
mod locks;
mod lost_pages;
mod mounts;
mod pages;
mod recorder;
mod small_disks;
mod values;
