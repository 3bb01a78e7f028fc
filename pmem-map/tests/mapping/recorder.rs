//! An observer that writes everything down.

use pmem_map::{Event, Observer, Region};
use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

/// Events in words, and the bytes that became durable or are on their way.
#[derive(Default)]
pub(crate) struct Recorder {
    words: Mutex<Vec<String>>,
    on_their_way: Mutex<Vec<Range<u64>>>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Recorder> {
        Arc::default()
    }

    /// What happened since the last call.
    pub(crate) fn words(&self) -> Vec<String> {
        std::mem::take(&mut self.words.lock().unwrap())
    }

    /// What was flushed or stored past the caches since the last call.
    pub(crate) fn on_their_way(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.on_their_way.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn event(&self, region: &Region, event: Event<'_>) {
        let word = match event {
            Event::Store { offset, bytes, caller } => {
                assert!(caller.file().contains("mapping"), "{caller}");
                format!("store {offset}+{}", bytes.len())
            }
            Event::StoreNontemporal { offset, bytes, .. } => {
                self.on_their_way.lock().unwrap().push(offset..offset + bytes.len() as u64);
                format!("past {offset}+{}", bytes.len())
            }
            Event::Flush { offset, len, .. } => {
                self.on_their_way.lock().unwrap().push(offset..offset + len);
                format!("flush {offset}+{len}")
            }
            Event::BeforeDrain { .. } => "before drain".into(),
            Event::Drain { .. } => "drain".into(),
            Event::WriteThrough { offset, len, .. } => format!("write through {offset}+{len}"),
            Event::Resize { from, to } => format!("resize {from} {to} of {}", region.len()),
            Event::FileSync => "file sync".into(),
            Event::NameCreated => "name".into(),
            Event::DirectorySync => "directory sync".into(),
            _ => "other".into(),
        };
        self.words.lock().unwrap().push(word);
    }
}
