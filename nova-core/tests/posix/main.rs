//! What POSIX and Linux say of a filesystem, case by case. Each case has a name, and a volume of its own.

mod acl;
mod clone;
mod create;
mod fallocate;
mod flags;
mod kit;
mod link;
mod own;
mod permission;
mod quota;
mod readdir;
mod remove;
mod rename;
mod seek;
mod times;
mod truncate;
mod volume;
mod write;
mod xattr;

use kit::{Case, run};

/// Every theme: its name, and its cases.
const THEMES: &[(&str, &[Case])] = &[
    ("create", create::CASES),
    ("remove", remove::CASES),
    ("link", link::CASES),
    ("rename", rename::CASES),
    ("readdir", readdir::CASES),
    ("permission", permission::CASES),
    ("acl", acl::CASES),
    ("flags", flags::CASES),
    ("write", write::CASES),
    ("truncate", truncate::CASES),
    ("fallocate", fallocate::CASES),
    ("seek", seek::CASES),
    ("clone", clone::CASES),
    ("times", times::CASES),
    ("xattr", xattr::CASES),
    ("quota", quota::CASES),
    ("volume", volume::CASES),
];

#[test]
fn every_case_holds() {
    let mut failed = Vec::new();
    for (theme, cases) in THEMES {
        println!("{theme}: {} cases", cases.len());
        for case in *cases {
            if let Err(why) = run(case) {
                failed.push(format!("{theme}: {}: {why}", case.0));
            }
        }
    }
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn there_are_at_least_three_hundred_cases_and_no_two_have_one_name() {
    let mut names: Vec<String> = THEMES
        .iter()
        .flat_map(|(theme, cases)| cases.iter().map(move |case| format!("{theme}: {}", case.0)))
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    println!("{all} cases");
    assert_eq!(names.len(), all);
    assert!(all >= 300, "{all} cases");
}
