//! `docs/storage.md` says what the code does.

use super::super::changes::encode_change;
use super::super::digest::Digest;
use super::super::frame::{Kind, Meta};
use super::super::tables::TABLES;

const DOCUMENTED: &str = include_str!("../../../docs/storage.md");

#[test]
fn every_table_is_documented_and_stands_in_the_order_of_its_number() {
    let (_, catalogue) = DOCUMENTED.split_once("| table | name |").unwrap();
    let rows: Vec<(u8, &str)> = catalogue
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?))
        })
        .collect();
    let tables: Vec<(u8, &str)> = TABLES.iter().map(|table| (table.id, table.name)).collect();
    assert_eq!(rows, tables);
    assert!(TABLES.is_sorted_by_key(|table| table.id));
}

#[test]
fn the_example_is_what_is_written() {
    let mut history = [0; 16];
    for (number, byte) in (0_u8..).zip(&mut history) {
        *byte = number;
    }
    let mut digest = Digest::default();
    let mut meta = Meta {
        kind: Kind::Segment,
        schema: super::super::SCHEMA,
        history,
        sequence: 1,
        previous: [0; 16],
        digest,
    };
    let (mut bytes, _) = meta.frame(|_| {});
    digest.add(3, b"k", b"r");
    meta.kind = Kind::Group;
    meta.digest = digest;
    bytes.extend(meta.frame(|out| encode_change(out, 3, b"k", Some(b"r"))).0);
    let lines: Vec<String> = bytes
        .chunks(32)
        .map(|line| {
            let halves = line.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let digit = |half| char::from_digit(u32::from(half), 16).unwrap();
            halves.map(digit).collect()
        })
        .collect();
    let written = lines.join("\n");
    let (_, rest) = DOCUMENTED.split_once("```\n").unwrap();
    let (example, _) = rest.split_once("\n```").unwrap();
    assert_eq!(example, written);
}
