//! What is where: as characters, as numbers, as one SVG file.

mod command;

use command::{json, pattern, volume, works, write};
use std::fs;

fn filled(folder: &tempfile::TempDir) -> String {
    let image = volume(folder);
    let source = write(folder, "one", &pattern(3 << 20));
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    image
}

#[test]
fn a_volume_is_drawn_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    let drawn = works(&["map", &image]);
    assert!(!drawn.contains('\x1b'), "no colours where there is no terminal: {drawn}");
    let picture: String = drawn.lines().skip(1).take_while(|line| !line.contains('%')).collect();
    let count = |letter: char| picture.chars().filter(|c| *c == letter).count();
    // 16 MiB in characters of 12 KiB; 3 MiB of data.
    assert!((250..=260).contains(&count('D')), "{drawn}");
    assert!(count('.') > 900 && count('J') > 30 && count('S') == 2, "{drawn}");
    for legend in
        ["free", "journal", "inodes", "logs", "data", "superblocks", "files      1 with data", "2 MiB"]
    {
        assert!(drawn.contains(legend), "{legend}: {drawn}");
    }
    let said = json(&["map", "--json", &image]);
    let stretches = said["stretches"].as_array().unwrap();
    let bytes = |holds: &str| -> u64 {
        let of = stretches.iter().filter(|stretch| stretch["holds"] == holds);
        of.map(|stretch| stretch["len"].as_u64().unwrap()).sum()
    };
    assert_eq!((bytes("data"), bytes("superblock"), bytes("journal")), (3 << 20, 8192, 512 << 10));
    assert_eq!(stretches.iter().map(|stretch| stretch["len"].as_u64().unwrap()).sum::<u64>(), 16 << 20);
    assert_eq!(bytes("free"), said["free"].as_u64().unwrap());
}

#[test]
fn an_svg_is_one_file_with_its_legend() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    let out = folder.path().join("map.svg");
    works(&["map", &image, "--svg", out.to_str().unwrap()]);
    let svg = fs::read_to_string(out).unwrap();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
    assert!(!svg.contains("href") && !svg.contains("<script"), "it needs nothing else");
    for legend in ["data: 3.0 MiB", "journal: 512.0 KiB", "free: ", "logs: ", "vol.img"] {
        assert!(svg.contains(legend), "{legend}");
    }
    // As wide as the picture: each row's cells add up.
    let row: u64 = svg
        .lines()
        .filter(|line| line.contains(" y=\"56\"") && line.starts_with("<rect x="))
        .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(row, 128 * 8);
}

#[test]
fn a_file_says_where_its_extents_are_and_how_they_are_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    let place = format!("{image}:/one");
    let said = json(&["map", "--json", &place]);
    let extents = said["extents"].as_array().unwrap();
    let media = fs::read(&image).unwrap();
    let content = pattern(3 << 20);
    for part in extents {
        let number = |name: &str| part[name].as_u64().unwrap() as usize;
        let (at, from, len) = (number("file_offset"), number("offset"), number("len"));
        assert!(media[from..from + len] == content[at..at + len]);
        assert!(from % number("alignment") == 0 && from % (2 * number("alignment")) != 0);
    }
    assert!(works(&["map", &place]).contains("in the volume"));
    let stat = works(&["stat", &place]);
    assert!(
        stat.contains("extents   ") && stat.contains("log       1 pages") && stat.contains("flags     none"),
        "{stat}"
    );
    assert_eq!(json(&["stat", "--json", &place])["extents"], said["extents"]);
    let listed = json(&["ls", "--json", &image]);
    assert_eq!((&listed[0]["name"], &listed[0]["size"]), (&"one".into(), &(3u64 << 20).into()));
}
