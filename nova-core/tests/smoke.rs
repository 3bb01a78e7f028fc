use nova_core::*;
use pmem_map::Mapping;
const R: &Credentials = &Credentials::ROOT;

#[test]
fn smoke() {
    let nova = FormatOptions::new()
        .stripes(2)
        .format(Mapping::memfd(16 << 20).unwrap(), MountOptions::new())
        .unwrap();
    nova.create_dir_all("/a/b").unwrap();
    let mut model = std::collections::BTreeMap::new();
    for i in 0..500 {
        let name = format!("/a/b/file-{i}");
        let f = nova.create_file(&name).unwrap();
        let data: Vec<u8> = (0..(i * 37 % 9000)).map(|b| (b * i) as u8).collect();
        f.write_at(0, &data).unwrap();
        f.append(b"tail").unwrap();
        model.insert(name, [data, b"tail".to_vec()].concat());
    }
    for i in (0..500).step_by(3) {
        let name = format!("/a/b/file-{i}");
        nova.remove_file(&name).unwrap();
        model.remove(&name);
    }
    for i in (1..500).step_by(3) {
        let (a, b) = (format!("/a/b/file-{i}"), format!("/a/moved-{i}"));
        nova.rename_path(&a, &b).unwrap();
        let v = model.remove(&a).unwrap();
        model.insert(b, v);
    }
    let check = |nova: &Nova| {
        for (n, v) in &model {
            assert_eq!(&nova.read_file(n).unwrap(), v, "{n}");
        }
    };
    check(&nova);
    let mut random = fastrand::Rng::with_seed(1);
    let f = nova.create_file("/big").unwrap();
    let mut big = vec![0u8; 0];
    for _ in 0..2000 {
        let (at, len) = (random.usize(0..200_000), random.usize(1..9000));
        let byte = random.u8(..);
        match random.u8(0..10) {
            0..6 => {
                if big.len() < at + len {
                    big.resize(at + len, 0);
                }
                big[at..at + len].fill(byte);
                f.write_at(at as u64, &vec![byte; len]).unwrap();
            }
            6 => {
                big.resize(at, 0);
                f.set_len(at as u64).unwrap();
            }
            7 => {
                let end = (at + len).min(big.len());
                if at < end {
                    big[at..end].fill(0);
                }
                f.allocate(at as u64, len as u64, Allocate::PunchHole).unwrap();
            }
            8 => {
                if big.len() < at + len {
                    big.resize(at + len, 0);
                }
                f.allocate(at as u64, len as u64, Allocate::Grow).unwrap();
            }
            _ => {
                if big.len() < at + len {
                    big.resize(at + len, 0);
                }
                big[at..at + len].fill(0);
                f.allocate(at as u64, len as u64, Allocate::Zero).unwrap();
            }
        }
        assert!(f.read_to_end().unwrap() == big);
    }
    let g = nova.create_file("/clone").unwrap();
    g.clone_range(&f, 0, 0, big.len() as u64).unwrap();
    assert!(g.read_to_end().unwrap() == big);
    f.write_at(5000, &[7; 10000]).unwrap();
    assert!(g.read_to_end().unwrap() == big);
    nova.set_attribute(1, b"user.x", &[5; 30000], AttributeMode::Set, R).unwrap();
    drop((f, g));
    let mut before = nova.statfs();
    let mapping = nova.unmount().unwrap();
    let nova = Nova::mount(mapping).unwrap();
    assert!(nova.mount_report().clean);
    assert_eq!(nova.statfs(), before);
    check(&nova);
    assert!(nova.read_file("/clone").unwrap() == big);
    assert_eq!(nova.attribute(1, b"user.x", R).unwrap(), [5; 30000]);
    before = nova.statfs();
    // A crash: the bytes as they are.
    let mut copy = Mapping::memfd(16 << 20).unwrap();
    let whole = nova.unmount().unwrap();
    copy.as_mut_slice().copy_from_slice(whole.as_slice());
    copy.as_mut_slice()[4096 + 16..4096 + 24].fill(0); // the state line is damaged: scan
    let nova = Nova::mount(copy).unwrap();
    let report = nova.mount_report();
    assert!(!report.clean && report.damage.is_empty(), "{report:?}");
    assert_eq!(nova.statfs(), before);
    check(&nova);
    for (n, _) in &model {
        nova.remove_file(n).unwrap();
    }
    println!("{report:?}\n{:?}", nova.counters());
}
