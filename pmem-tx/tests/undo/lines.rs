use super::*;
use pmem_tx::Error;

#[test]
fn one_word_takes_one_line_one_drain_and_no_record() {
    let journal = journal();
    let cost = spent(&journal, || journal.atomic_line(AT + 16, &7u64.to_le_bytes()).unwrap());
    assert_eq!((cost.lines(), cost.drains), (1, 1));
    assert_eq!((word(&journal, AT + 16), journal.stats().unwrap().commits), (7, 0));
    // Part of a word; and all of a line, of which one word differs.
    let cost = spent(&journal, || journal.atomic_line(AT + 21, &[9]).unwrap());
    assert_eq!((cost.lines(), cost.drains), (1, 1));
    let mut line = [0u64; 8];
    (line[2], line[5]) = (7 | 9 << 40, 1);
    let cost = spent(&journal, || journal.atomic_line(AT, bytemuck::bytes_of(&line)).unwrap());
    assert_eq!((cost.lines(), cost.drains), (1, 1));
    assert_eq!(journal.begin().unwrap().get::<[u64; 8]>(AT).unwrap(), line);
    assert_eq!(spent(&journal, || journal.atomic_line(AT, bytemuck::bytes_of(&line)).unwrap()).drains, 0);
    assert_eq!(journal.stats().unwrap().commits, 0);
}

#[test]
fn several_words_or_a_line_that_the_window_covers_take_a_record_and_one_drain() {
    let journal = journal();
    let cost = spent(&journal, || journal.atomic_line(AT, bytemuck::bytes_of(&[1u64; 2])).unwrap());
    assert_eq!((cost.drains, journal.stats().unwrap().commits), (1, 1));
    // The record of two commits ago is drained, and no window has it.
    let commits = |work: &dyn Fn()| {
        let before = journal.stats().unwrap().commits;
        work();
        journal.stats().unwrap().commits - before
    };
    let store = |value: u64| journal.atomic_line(AT, &value.to_le_bytes()).unwrap();
    assert_eq!(commits(&|| store(2)), 1, "the newest record covers it");
    journal.write(|tx| tx.write(AT + 640, &1u64)).unwrap();
    assert_eq!(commits(&|| store(3)), 1, "the newest record's window reaches back to it");
    journal.write(|tx| tx.write(AT + 640, &2u64)).unwrap();
    journal.write(|tx| tx.write(AT + 640, &3u64)).unwrap();
    assert_eq!(commits(&|| store(4)), 0);
    journal.write(|tx| tx.write(AT, &5u64)).unwrap();
    journal.checkpoint().unwrap();
    assert_eq!(commits(&|| store(6)), 0, "retired");
    journal.write(|tx| tx.write(AT, &7u64)).unwrap();
    journal.write_undo(|tx| tx.write(AT + 64, &1u64)).unwrap();
    assert_eq!(commits(&|| store(8)), 0, "a seal ends the window");
    let journal = Journal::open(killed(journal), LOG).unwrap();
    assert_eq!(word(&journal, AT), 8);
}

#[test]
fn a_line_that_validates_itself_takes_no_record_however_many_words_change() {
    let journal = journal();
    let line: [u64; 8] = std::array::from_fn(|i| 100 + i as u64);
    let cost = spent(&journal, || journal.self_validating_line(AT, bytemuck::bytes_of(&line)).unwrap());
    assert_eq!((cost.lines(), cost.drains, journal.stats().unwrap().commits), (1, 1, 0));
    assert_eq!(journal.begin().unwrap().get::<[u64; 8]>(AT).unwrap(), line);
    journal.write(|tx| tx.write(AT + 8, &1u64)).unwrap();
    journal.self_validating_line(AT, bytemuck::bytes_of(&line)).unwrap();
    assert_eq!(journal.stats().unwrap().commits, 2, "covered: a record");
    assert_eq!(journal.begin().unwrap().get::<[u64; 8]>(AT).unwrap(), line);
}

#[test]
fn bytes_of_two_lines_of_the_log_or_outside_are_refused() {
    let journal = journal();
    for (at, len) in [(AT + 60, 5), (AT, 65), (AT - 8, 8), (0, 8), (LEN - 4, 8), (u64::MAX, 8), (LEN, 1)] {
        for atomic in [true, false] {
            let bytes = vec![1; len];
            let result = match atomic {
                true => journal.atomic_line(at, &bytes),
                false => journal.self_validating_line(at, &bytes),
            };
            assert!(matches!(result, Err(Error::Invalid { .. })), "{len} at {at}: {result:?}");
        }
    }
    journal.atomic_line(AT, &[]).unwrap();
    journal.atomic_line(LEN, &[]).unwrap();
    assert_eq!(word(&journal, AT), 0);
}
