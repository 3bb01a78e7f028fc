//! What the page says in words.

use super::escape;
use crate::compare::{
    results::Results,
    statistics::median,
    table::{doubts, time},
    variant::Variant,
};

/// What a group of panels is about.
pub(super) fn of_group(group: &str) -> &'static str {
    match group {
        "Records" => {
            "Objects of 64 bytes at random places of a mapped file: code that is written by hand, from none of the ordering to all of it, \
             beside transactions. A counter, one record, eight records together; records that fit the first cache, and records in no cache."
        }
        "Ranges" => {
            "One transaction that changes more and more places. Redo drains once however many there are; undo drains its snapshot, \
             the changes and the seal, but keeps no shadow copies."
        }
        "Maps" => {
            "Keys of 8 bytes and values of 100, one operation at a time, each durable when it returns where it can be. The maps in DRAM \
             are the ceiling: nothing of theirs survives. By hand, a hash table over a raw mapping, whose room is fixed: without any ordering, and \
             with two drains for each change."
        }
        "YCSB" => {
            "The six mixes of the Yahoo! Cloud Serving Benchmark over the same maps. Zipfian: a few keys are asked for very often."
        }
        "Streams" => "A log that grows, and a queue that does not: records of 64 bytes.",
        "Files" => {
            "Ordinary file operations: a volume of nova-core in this process, whose operations are durable on return, beside system calls, \
             which are not unless they are synced."
        }
        "Disk" => {
            "An ordinary file on an ordinary disk: what was drained is written back by msync or fdatasync, and that costs a thousand times \
             what a drain does."
        }
        _ => "",
    }
}

/// Under the title: the result in a sentence, and what speaks against it.
pub(super) fn head(results: &Results) -> String {
    let machine = &results.machine;
    let mut html = format!(
        "<p class=\"lead\">{}, {} CPUs; {}. {} rounds, interleaved.</p>",
        escape(&machine.cpu),
        machine.cpus,
        escape(&machine.medium),
        results.run.rounds
    );
    if let Some(finding) = finding(results) {
        html += &format!("<p class=\"finding\">{}</p>", escape(&finding));
    }
    let mut warnings = doubts(results);
    if !results.run.optimised {
        warnings.push("this program was not optimised: its times mean nothing".into());
    }
    if results.run.scale == "smoke" {
        warnings.push("this run only shows that everything works: its times mean nothing".into());
    }
    for warning in warnings {
        html += &format!("<p class=\"doubt\">Beware: {}.</p>", escape(&warning));
    }
    html
}

/// What one record's update costs, by hand and as a transaction.
fn finding(results: &Results) -> Option<String> {
    let panel = results
        .panels
        .iter()
        .filter(|panel| panel.workload == "record update" && panel.threads == 1 && panel.group == "Records");
    let panel = panel.max_by_key(|panel| panel.bytes)?;
    let of = |variant| {
        let row = panel.rows.iter().find(|row| row.variant == variant)?;
        Some(median(row.measured()?.samples(panel.clock)))
    };
    let (hand, redo, slot) = (of(Variant::HandOrdered)?, of(Variant::Redo)?, of(Variant::Slot)?);
    Some(format!(
        "One 64-byte record among {}: {} stored and drained twice by hand, which can be torn; {} as a transaction, which cannot, {:.2} times \
         that; {} in a slot that checks itself.",
        panel.set,
        time(hand),
        time(redo),
        redo / hand,
        time(slot)
    ))
}

/// How to read the page.
pub(super) fn how_to_read() -> String {
    let mut html = String::from(
        "<ul>\
         <li><b>Shorter is better.</b> A bar is the median over all rounds of the time of one operation; the whisker goes from a \
         quarter to three quarters of the rounds. Where some bars would be too short to see, dots on a logarithmic axis take their place: \
         there, the same distance is the same <em>factor</em>.</li>\
         <li><b>Lines and drains</b> stand beside each time. A line is a cache line that was flushed, or written past the caches; a drain \
         waits until all of them are durable. They are counted, not timed: exact, and the same on every machine. Real persistent memory \
         takes longer for each, so there the counts decide.</li>\
         <li><b>Compare what promises the same.</b> The ceiling (raw, unordered; DRAM) loses data in a crash. Code by hand can be torn unless it is \
         a slot. A transaction is all or nothing, of whatever it changed. Each table says what is there after a crash.</li>\
         <li><b>Rows of one plot took turns</b>, A B A B, so a machine that drifts does so for all of them. Rows of different plots did not: \
         compare within a plot. Differences that whiskers bridge are none.</li>\
         <li><b>Time</b> is CPU time where one thread does the work: waiting for memory and for drains is in it, other programs on the machine are \
         not. Where a row waits for a disk, for another thread or for another process, it is time by the clock. Each axis says which.</li>\
         <li><b>Latencies</b>, and one thread beside two, are by the clock. Latencies are of single operations, with a look at the clock in each; their tails have the machine's interruptions in \
         them.</li></ul><ul class=\"legend\">",
    );
    for variant in Variant::ALL {
        html += &format!(
            "<li><i class=\"swatch b-{}\"></i><b>{}</b>: {}</li>",
            variant.class(),
            escape(variant.name()),
            escape(variant.promise())
        );
    }
    html + "</ul>\n"
}

/// What the page cannot tell.
pub(super) fn not_shown() -> String {
    "<ul>\
     <li><b>Real persistent memory</b>, unless the machine's table says DAX. DRAM that is flushed line by line is faster for each line, more so \
     for reads, and hides what a device's own buffers do.</li>\
     <li><b>That anything survives a crash.</b> Every row is checked for having written what it should; that it is there after a power failure \
     is shown by the crash tests, not here.</li>\
     <li><b>Maps by hand as people need them.</b> The one that is shown is a hash table of a fixed size with entries of a fixed size, which changes \
     one entry at a time; a tree by hand, which splits, would need a transaction. Containers have no undo variant: a pool's transactions are redo, \
     since its allocator keeps what it hands out to itself until they commit, and its containers read and change copies.</li>\
     <li><b>Many threads.</b> Two are measured; what shares a lock can look well with two and not with twenty.</li>\
     <li><b>Long lives.</b> A run takes minutes: no fragmentation of weeks, no full disk, no device that wears out or gets hot.</li>\
     <li><b>Your program.</b> Its transactions have other sizes, and other work between them which hides a drain or does not.</li>\
     <li><b>Effort.</b> What a hand-ordered protocol costs to get right, and to keep right, is in no plot.</li></ul>\n"
        .to_owned()
}
