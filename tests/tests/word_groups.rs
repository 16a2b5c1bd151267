//! The documentation of the word groups says what they are.

use std::fmt::Write;

use pet_core::mask::{BoundType, DataType, GroupType, MaskConfig, ModelType};

const BEGIN: &str =
    "<!-- table: written by `make docs-tables`, checked by tests/tests/word_groups.rs -->\n";
const END: &str = "<!-- end of table -->";

/// The step, and how many of them the bound has.
fn cell(group: GroupType, data: DataType, bound: BoundType, model: ModelType) -> String {
    let Ok(config) = MaskConfig::new(group, data, bound, model) else {
        return String::new();
    };
    let e = config.exp_shift().bits() - 1;
    let steps = config.add_shift().to_integer() * num_bigint::BigInt::from(config.exp_shift());
    let step = if e == 0 { "1".to_owned() } else { format!("2^-{e}") };
    format!("{step} ({} bits)", steps.bits() - 1)
}

fn table() -> String {
    let mut text = String::from("| config | M3 | M6 | M9 | M12 |\n|---|---|---|---|---|\n");
    for group in [GroupType::Word32, GroupType::Word64] {
        for (name, types) in [
            ("floats", [DataType::F32, DataType::F64]),
            ("integers", [DataType::I32, DataType::I64]),
        ] {
            for &bound in BoundType::ALL {
                let row =
                    |data| ModelType::ALL.iter().map(move |&model| cell(group, data, bound, model));
                let [first, second] = types.map(|data| row(data).collect::<Vec<_>>());
                let rows = match first == second {
                    true => vec![(name.to_owned(), first)],
                    false => vec![(types[0].to_string(), first), (types[1].to_string(), second)],
                };
                for (name, cells) in
                    rows.into_iter().filter(|(_, cells)| cells.iter().any(|c| !c.is_empty()))
                {
                    writeln!(text, "| {group}, {name}, {bound} | {} |", cells.join(" | ")).unwrap();
                }
            }
        }
    }
    text
}

/// With `PET_WRITE_DOCS` set the table is written instead (`make docs-tables`).
#[test]
fn the_documentation_shows_the_precision() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/word-groups.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning is marked");
    let (found, after) = rest.split_once(END).expect("its end is marked");
    let expected = table();
    if std::env::var_os("PET_WRITE_DOCS").is_some() {
        std::fs::write(path, [before, BEGIN, &expected, END, after].concat())
            .expect("docs can be written to");
    } else {
        assert!(found == expected, "docs/word-groups.md is stale: run make docs-tables");
    }
}

/// The examples in the text.
#[test]
fn the_documentation_quotes_the_error() {
    let page = include_str!("../../docs/word-groups.md").replace("\n> ", " ");
    let error = "Word32/F32/B0/M6".parse::<MaskConfig>().unwrap_err().to_string();
    assert!(page.contains(&error), "{error}");
    let coarse: MaskConfig = "Word64/I32/Bmax/M9".parse().unwrap();
    assert_eq!(coarse.exp_shift(), 4u32.into());
}
