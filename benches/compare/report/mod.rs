//! The page: one file, with its plots in it as SVG, that needs no network and no script.
//!
//! `figure` is what plots are made of; `bars` the time of each row, with its lines and drains; `tails` how latencies are
//! distributed; `curves` cost against the number of ranges, against size, and over time; `scaling` one thread and two; `tables` the
//! numbers themselves; `words` what they mean and what they do not.

mod bars;
mod curves;
mod figure;
mod scaling;
mod tables;
mod tails;
mod words;

use super::results::{Panel, Results};
use std::fmt::Write;

/// Text that is safe in HTML, as content and in quoted attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A name for a place in the page.
fn anchor(text: &str) -> String {
    text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// Groups in the order in which they first come.
fn groups(results: &Results) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for panel in &results.panels {
        if !groups.contains(&panel.group.as_str()) {
            groups.push(&panel.group);
        }
    }
    groups
}

/// The whole page.
pub fn page(results: &Results) -> String {
    let mut page = String::new();
    let style = include_str!("style.css");
    let groups = groups(results);
    let mut sections: Vec<(String, String)> = Vec::new();
    for group in &groups {
        let panels: Vec<&Panel> = results.panels.iter().filter(|panel| panel.group == *group).collect();
        let mut body = format!("<p class=\"lead\">{}</p>", escape(words::of_group(group)));
        body += &curves::of_group(group, &panels);
        body += &scaling::of_group(&panels);
        panels.iter().for_each(|panel| body += &of_panel(panel));
        sections.push(((*group).to_owned(), body));
    }
    if !results.traces.is_empty() {
        sections.push(("Over time".to_owned(), curves::over_time(&results.traces)));
    }
    let links = sections.iter().map(|(title, _)| title.as_str());
    let links =
        ["How to read this"].into_iter().chain(links).chain(["What this does not show", "The machine"]);
    let mut nav = String::new();
    for title in links {
        write!(nav, "<a href=\"#{}\">{}</a>", anchor(title), escape(title)).expect("text");
    }
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>nova bench: what atomicity costs</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <header><h1>What atomicity costs</h1>{}</header>\n<nav>{nav}</nav>\n<main>\n",
        words::head(results)
    )
    .expect("text");
    page += &section("How to read this", &words::how_to_read());
    for (title, body) in &sections {
        page += &section(title, body);
    }
    page += &section("What this does not show", &words::not_shown());
    page += &section("The machine", &tables::machine(results));
    page += "</main>\n</body>\n</html>\n";
    page
}

fn section(title: &str, body: &str) -> String {
    format!("<section id=\"{}\"><h2>{}</h2>\n{body}</section>\n", anchor(title), escape(title))
}

/// A panel: its bars, and what is behind them.
fn of_panel(panel: &Panel) -> String {
    let mut body = format!(
        "<article><h3>{}</h3><p class=\"about\">{}. Place: {}.</p>",
        escape(&panel.title()),
        escape(&panel.operation),
        escape(&panel.place)
    );
    body += &bars::plot(panel);
    body += &tables::absent(panel);
    if panel.rows.iter().any(|row| row.measured().is_some()) {
        body += "<details><summary>How latencies are distributed</summary>";
        body += &tails::plot(panel);
        body += "</details><details><summary>The numbers, and what is there after a crash</summary>";
        body += &tables::numbers(panel);
        body += "</details>";
    }
    body + "</article>\n"
}
