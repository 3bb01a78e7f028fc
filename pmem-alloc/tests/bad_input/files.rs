//! Files: missing, foreign, empty, cut off, too long, in use; and pools that were half made.

use crate::cell::Cell;
use crate::pools::*;
use pmem_alloc::*;
use pmem_map::PAGE;

#[test]
fn a_file_that_is_no_pool_is_left_as_it_is() {
    // PMDK scenarios 3 and 4
    let folder = folder();
    let path = folder.path().join("letter");
    let letter = "Dear reader, this is no pool. ".repeat(40_000);
    for content in [letter.as_bytes(), &letter.as_bytes()[..5000], b"short"] {
        std::fs::write(&path, content).unwrap();
        assert_kind!(open(&path), ErrorKind::NotAPool { .. });
        assert_kind!(open_or_create(&path), ErrorKind::NotAPool { .. });
        assert_kind!(create(&path), ErrorKind::AlreadyExists { .. });
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::write(&path, b"").unwrap();
    assert_kind!(open(&path), ErrorKind::Map(pmem_map::Error::BadLength { .. }));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn zeros_are_no_pool_but_room_for_one() {
    // PMDK scenarios 2 and 5 (decided: data anywhere is somebody's) and 10
    let folder = folder();
    let path = folder.path().join("zeros");
    std::fs::write(&path, vec![0; SIZE as usize]).unwrap();
    let message = assert_kind!(open(&path), ErrorKind::NotAPool { .. });
    assert!(message.contains("zeros"), "{message}");
    assert!(std::fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
    let pool = open_or_create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    drop(pool);
    assert_eq!(value(&open_or_create(&path).unwrap()), 7);
    // Zeros, and then something: not ours to overwrite.
    let mut mostly = vec![0; SIZE as usize];
    mostly[SIZE as usize - 1] = 1;
    std::fs::write(&path, &mostly).unwrap();
    assert_kind!(open_or_create(&path), ErrorKind::NotAPool { .. });
    assert_eq!(std::fs::read(&path).unwrap(), mostly);
}

// PMDK scenario 7.
#[test]
fn a_missing_file_or_folder_is_said() {
    // PMDK scenario 7
    let folder = folder();
    let not_there = folder.path().join("no").join("pool");
    for result in [open(&not_there), create(&not_there), open_or_create(&not_there)] {
        let message = assert_kind!(result, ErrorKind::Map(pmem_map::Error::Io { .. }));
        assert!(message.contains("pool"), "{message}");
    }
    assert_kind!(open(folder.path()), ErrorKind::Map(pmem_map::Error::Io { .. }));
    assert_kind!(create(folder.path()), ErrorKind::AlreadyExists { .. });
}

#[test]
fn a_truncated_pool_is_said_to_be_and_not_touched() {
    // PMDK scenario 10
    let folder = folder();
    let path = folder.path().join("pool");
    let bytes = sample();
    for len in [SIZE - PAGE, SIZE / 2, 3 * PAGE, SIZE - 1] {
        std::fs::write(&path, &bytes[..len as usize]).unwrap();
        let message = assert_kind!(open(&path), ErrorKind::Truncated { expected: SIZE, .. });
        assert!(message.contains("backup"));
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len as usize]);
    }
    for len in [PAGE, 100, 8] {
        std::fs::write(&path, &bytes[..len as usize]).unwrap();
        assert!(open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len as usize]);
    }
    // Longer than its header says is fine.
    let mut longer = bytes.clone();
    longer.resize(SIZE as usize + 8192, 9);
    std::fs::write(&path, &longer).unwrap();
    assert_eq!(value(&open(&path).unwrap()), 7);
}

#[test]
fn a_pool_in_a_longer_file_opens_whatever_the_length() {
    let folder = folder();
    let path = folder.path().join("pool");
    for more in [1, 63, 64, PAGE - 1, PAGE + 1] {
        let mut bytes = sample();
        bytes.resize((SIZE + more) as usize, 0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let pool = open(&path).unwrap();
        assert_eq!(value(&pool), 7);
        pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8)).unwrap();
        pool.close().unwrap();
        assert_eq!(value(&open(&path).unwrap()), 8);
        assert_eq!(std::fs::read(&path).unwrap()[SIZE as usize..], bytes[SIZE as usize..]);
    }
}

#[test]
fn a_second_handle_by_path_is_refused_until_the_first_is_closed() {
    // PMDK scenario 11
    let folder = folder();
    let path = folder.path().join("pool");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    let message = assert_kind!(open(&path), ErrorKind::Map(pmem_map::Error::Locked { .. }));
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    assert_kind!(open_or_create(&path), ErrorKind::Map(pmem_map::Error::Locked { .. }));
    drop(pool);
    assert_eq!(value(&open(&path).unwrap()), 7);
}

#[test]
fn a_pool_that_lost_its_magics_is_not_taken_for_an_unfinished_creation() {
    let folder = folder();
    let path = folder.path().join("pool");
    let without_magics = |mut bytes: Vec<u8>| {
        put(&mut bytes, 0, 0);
        put(&mut bytes, PAGE, 0);
        bytes
    };
    let blank_tables = |mut bytes: Vec<u8>| {
        let tables = word(&bytes, STATE_START) as usize..word(&bytes, DATA_START) as usize;
        bytes[tables].fill(0);
        bytes
    };
    let log = word(&sample(), LOG_START) as usize;
    let created = {
        drop(create(&path).unwrap());
        std::fs::read(&path).unwrap()
    };
    let opened = {
        drop(open(&path).unwrap());
        std::fs::read(&path).unwrap()
    };
    let without_log_header = |mut bytes: Vec<u8>| {
        bytes[log..log + 256].fill(0);
        bytes
    };
    for (bytes, what) in [
        (sample(), "tables that are not blank"),
        (blank_tables(sample()), "a log with a record"),
        (without_log_header(blank_tables(sample())), "a log with a record, and without a header"),
        (opened, "a log that was opened"),
    ] {
        let bytes = without_magics(bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = open_or_create(&path).err().unwrap_or_else(|| panic!("{what}: made anew"));
        assert!(matches!(error.kind(), ErrorKind::NotAPool { .. }), "{what}: {error}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{what}: changed");
    }
    std::fs::write(&path, without_magics(created)).unwrap();
    open_or_create(&path).unwrap();
}

#[test]
fn a_pool_can_be_made_where_one_is_and_has_nothing_of_it() {
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    mapping.as_mut_slice().copy_from_slice(&sample());
    let pool = Pool::create_on(mapping).unwrap();
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("c").map(drop), ErrorKind::NotFound { .. });
    let stats = pool.stats().unwrap();
    assert_eq!((stats.used, stats.free), (0, stats.capacity));
    assert!(pool.check().unwrap().is_ok());
    // Over garbage too.
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    mapping.as_mut_slice().fill(0xa5);
    let pool = Pool::create_on(mapping).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(1)).unwrap();
    assert_eq!((value(&pool), pool.check().unwrap().is_ok()), (1, true));
}

#[test]
fn a_pool_is_made_over_another_in_a_file_of_any_length_or_the_other_one_stays() {
    let folder = folder();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    let map = || unsafe { pmem_map::MapOptions::new().open(&path) }.unwrap();
    let mut bytes = sample();
    bytes.push(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let too_long = PoolOptions::new().layout(&"l".repeat(113));
    assert_kind!(too_long.create_on(map()), ErrorKind::TooLarge { what: "layout name", .. });
    assert!(std::fs::read(&path).unwrap() == bytes);
    let pool = Pool::create_on(map()).unwrap();
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("c").map(drop), ErrorKind::NotFound { .. });
}

#[test]
fn a_new_pool_has_the_size_that_was_asked_for_and_the_mode_of_a_new_file() {
    // PMDK scenario 1
    let folder = folder();
    let (path, other) = (folder.path().join("pool"), folder.path().join("file"));
    // SAFETY: a file of this test alone.
    let pool = unsafe { PoolOptions::new().size(SIZE + 5 * PAGE).layout("layout").create(&path) }.unwrap();
    std::fs::File::create(&other).unwrap();
    let (pool_file, file) = (std::fs::metadata(&path).unwrap(), std::fs::metadata(&other).unwrap());
    assert_eq!((pool_file.len(), pool.stats().unwrap().size), (SIZE + 5 * PAGE, SIZE + 5 * PAGE));
    assert_eq!(pool_file.permissions(), file.permissions());
}

#[test]
fn a_pool_is_never_made_over_one_that_exists_by_its_path() {
    // PMDK scenario 3
    let folder = folder();
    let path = folder.path().join("pool");
    std::fs::write(&path, sample()).unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = assert_kind!(create(&path), ErrorKind::AlreadyExists { .. });
    assert!(message.contains("remove it first") && std::fs::read(&path).unwrap() == before, "{message}");
    assert_eq!(value(&open_or_create(&path).unwrap()), 7, "the size that was asked for is that of a new one");
}

#[test]
fn a_pool_made_again_in_a_file_that_was_emptied_has_nothing_of_the_old_one() {
    // PMDK scenario 15
    let folder = folder();
    let path = folder.path().join("pool");
    std::fs::write(&path, sample()).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    file.set_len(SIZE).unwrap();
    let pool = open_or_create(&path).unwrap();
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("c").map(drop), ErrorKind::NotFound { .. });
    let stats = pool.stats().unwrap();
    assert_eq!((stats.used, stats.free, stats.objects), (0, stats.capacity, 0));
}
