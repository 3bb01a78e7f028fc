//! What a person is told of a failure, word for word.

use pmem_crash::{Exploration, Report};
use pmem_map::{Error, Mapping};

const WRITE: u32 = line!() + 3;
fn set(mapping: &mut Mapping, n: u8) -> Result<(), Error> {
    // The bug: the data is not durable when the flag says that it is.
    mapping.write(64, &[n; 16])?;
    mapping.flush(64..80)?;
    mapping.write(0, &[n])?;
    mapping.persist(0..1)
}

fn explore() -> Report {
    Exploration::new("two fields").configure(|config| config.seed(7)).len(4096).run(
        |mut mapping, ops| (1..=2).try_for_each(|n| ops.run(format!("set {n}"), || set(&mut mapping, n))),
        Ok::<Mapping, Error>,
        |mapping, _| match (mapping.as_slice()[0], &mapping.as_slice()[64..80]) {
            (flag, data) if data.iter().all(|byte| *byte >= flag) => Ok(()),
            (flag, _) => Err(format!("the flag is {flag}, the data is not all there")),
        },
    )
}

#[test]
fn a_failure_is_told_so_that_a_person_can_act_on_it() {
    let failure = explore().first_failure.expect("found");
    let expected = format!(
        "\
two fields: a power failure leaves an image that is recovered wrongly
  wrong      the flag is 1, the data is not all there
  operation  set 1 (1 begun, 0 acknowledged)
  crash      power fails at point 1, before the drain at pmem-crash/tests/report.rs:{drain}:13
    lost     bytes 64..80 (line 1) stored at pmem-crash/tests/report.rs:{store}:13
  difference 00000040  left   00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
                       stored 01 01 01 01 01 01 01 01  01 01 01 01 01 01 01 01
  found      as image 3, seed 0x7
  repeat     PMEM_CRASH_IMAGE='two fields#1/1+1:0' cargo test -p pmem-crash --test report \
a_failure_is_told_so_that_a_person_can_act_on_it -- --exact --nocapture",
        drain = WRITE + 3,
        store = WRITE,
    );
    assert_eq!(failure.to_string(), expected);
}

#[test]
fn the_command_of_a_failure_repeats_its_image_and_dumps_it() {
    const CHILD: &str = "PMEM_CRASH_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let report = explore();
        assert_eq!((report.images, report.failures), (1, 1), "one image only");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |image: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["the_command_of_a_failure_repeats_its_image_and_dumps_it", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .env("PMEM_CRASH_IMAGE", image)
            .env("PMEM_CRASH_DUMP", folder.path())
            .output()
            .unwrap()
    };
    let output = run("two fields#1/1+1:0");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let read = |end: &str| std::fs::read(folder.path().join(format!("two_fields_1_1+1_0.{end}"))).unwrap();
    let (left, stored) = (read("left"), read("stored"));
    assert_eq!((left[0], left[64]), (1, 0));
    assert_eq!((stored[0], stored[64]), (1, 1));
    let account = String::from_utf8(read("txt")).unwrap();
    assert!(
        account.starts_with("two fields: a power failure leaves an image that is recovered wrongly\n"),
        "{account}"
    );
    assert!(account.contains("the flag is 1, the data is not all there"), "{account}");
    assert!(!run("two fields#2/1+1:0").status.success(), "of another exploration: this one tries all images");
    assert!(!run("two fields#1/nonsense").status.success());
}
