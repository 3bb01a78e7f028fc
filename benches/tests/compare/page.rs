//! The page: its numbers, that it needs nothing else, and that a browser opens it.

use benches::compare::{
    report,
    results::{Results, Row},
    statistics::median,
};
use std::process::{Command, Stdio};

/// The value of each attribute of that name, in order.
fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let start = format!(" {name}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Whether the page's tables have exactly the medians of the results, row by row.
pub(crate) fn agrees(page: &str, results: &Results) {
    let expected: Vec<(String, f64)> = crate::page::groups(results)
        .flat_map(|panel| panel.rows.iter().map(|row| (panel.clock, row)))
        .filter_map(|(clock, row)| Some((row.name(), median(row.measured()?.samples(clock)))))
        .collect();
    let numbers = attributes(page, "data-ns").into_iter().map(|number| number.parse::<f64>().unwrap());
    let names = attributes(page, "data-row").into_iter().map(|name| name.replace("&amp;", "&"));
    let found: Vec<(String, f64)> = names.zip(numbers).collect();
    assert_eq!(found.len(), expected.len(), "rows");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    for trace in &results.traces {
        assert!(page.contains(&format!(
            "{} intervals of {} operations",
            trace.intervals.len(),
            trace.operations
        )));
    }
}

/// Panels in the order of the page: group by group.
fn groups(results: &Results) -> impl Iterator<Item = &benches::compare::results::Panel> {
    let mut order: Vec<&str> = Vec::new();
    for panel in &results.panels {
        if !order.contains(&panel.group.as_str()) {
            order.push(&panel.group);
        }
    }
    order.into_iter().flat_map(|group| results.panels.iter().filter(move |panel| panel.group == group))
}

/// Whether it needs no network, no other file and no script.
pub(crate) fn stands_alone(page: &str) {
    for word in ["http:", "https:", "<script", "src=", "@import", "url(", "javascript:"] {
        assert!(!page.contains(word), "the page has {word}");
    }
    for href in attributes(page, "href") {
        let is_here = href.strip_prefix('#').is_some_and(|id| page.contains(&format!("id=\"{id}\"")));
        assert!(is_here || href == "data:,", "{href}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""), "a number is none");
}

/// Whether Chromium opens it without an error, if it is here.
pub(crate) fn opens_in_a_browser(page: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (file, picture) = (folder.path().join("page.html"), folder.path().join("page.png"));
    std::fs::write(&file, page).unwrap();
    let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|program| {
        let asked =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    let Some(program) = program else {
        println!("skipped: there is no Chromium to open the page with");
        return;
    };
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--v=0", "--window-size=1000,2000"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("CONSOLE"), "the page made the console say something: {said}");
    let bytes = std::fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "a picture of {} bytes", bytes.len());
}

#[test]
fn text_of_rows_cannot_break_the_page() {
    let mut results = crate::difference::run(&[("a", &[10.0; 9])]);
    results.panels[0].rows[0].what = "<script>\"&".into();
    results.panels[0].operation = "</p><script>".into();
    let page = report::page(&results);
    assert!(page.contains("&lt;script&gt;&quot;&amp;"));
    stands_alone(&page);
    agrees_by_name(&page, &results.panels[0].rows[0]);
}

fn agrees_by_name(page: &str, row: &Row) {
    let escaped =
        row.name().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    assert!(page.contains(&format!("data-row=\"{escaped}\"")));
}

#[test]
fn a_page_of_nothing_and_of_rows_that_failed_is_a_page() {
    let mut results = crate::difference::run(&[("a", &[10.0; 9])]);
    results.panels[0].rows[0].outcome = benches::compare::results::Outcome::Failed("it broke".into());
    let page = report::page(&results);
    assert!(page.contains("Failed (it broke)"));
    stands_alone(&page);
    results.panels.clear();
    stands_alone(&report::page(&results));
}
