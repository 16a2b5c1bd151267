//! docs/protocol.md, the specification that comments cite: it has what they cite, and its tables are right.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use num_bigint::BigUint;
use num_traits::Num;
use pet_core::mask::{BoundType, DataType, GroupType, MaskConfig, ModelType};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn page() -> String {
    fs::read_to_string(Path::new(ROOT).join("docs/protocol.md")).expect("the page is there")
}

/// The cells of all rows of tables that begin with this.
fn rows<'a>(page: &'a str, start: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    let rows = page.lines().filter(move |line| line.starts_with(start));
    rows.map(|line| {
        let inner = line.trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(str::trim).collect()
    })
}

/// Bits and prime offsets by the names of data and bound type, as the page has them.
fn table(page: &str) -> BTreeMap<(DataType, BoundType), [Vec<u32>; 2]> {
    let mut table = BTreeMap::new();
    for data in DataType::ALL {
        for bound in BoundType::ALL {
            // The page says that both have what F32 has.
            let is_short = matches!(data, DataType::I32 | DataType::I64);
            let shown = if is_short && *bound != BoundType::Bmax { &DataType::F32 } else { data };
            let start = format!("| {shown}, {bound} |");
            let cells = rows(page, &start).next().unwrap_or_else(|| panic!("{start} is missing"));
            let numbers =
                |cells: &[&str]| cells.iter().filter_map(|cell| cell.parse().ok()).collect();
            table.insert((*data, *bound), [numbers(&cells[1..5]), numbers(&cells[5..9])]);
        }
    }
    table
}

fn ten_to(exponent: u32) -> BigUint {
    BigUint::from(10u32).pow(exponent)
}

/// The order of a config by the rules of section 5.
fn order(page: &str, config: MaskConfig) -> BigUint {
    let (data, bound, model) = (config.data_type(), config.bound_type(), config.model_type());
    let at = ModelType::ALL.iter().position(|other| *other == model).unwrap();
    let [bits, offsets] = &table(page)[&(data, bound)];
    let e = ten_to(match (data, bound) {
        (DataType::F32, BoundType::Bmax) => 45,
        (DataType::F64, BoundType::Bmax) => 324,
        (DataType::F64, _) => 20,
        _ => 10,
    });
    let width = match (bound, data) {
        (BoundType::B0, _) => BigUint::from(2u32),
        (BoundType::B2, _) => 2u32 * ten_to(2),
        (BoundType::B4, _) => 2u32 * ten_to(4),
        (BoundType::B6, _) => 2u32 * ten_to(6),
        (BoundType::Bmax, DataType::F32) => 2u32 * BigUint::from(34_028_235u32) * ten_to(31),
        (BoundType::Bmax, DataType::F64) => {
            2u32 * BigUint::from(17_976_931_348_623_155u64) * ten_to(292)
        }
        (BoundType::Bmax, DataType::I32) => BigUint::from(u32::MAX),
        (BoundType::Bmax, DataType::I64) => BigUint::from(u64::MAX),
        (other, _) => panic!("the page does not know {other}"),
    };
    let integer = width * e * ten_to(3 * (at as u32 + 1)) + 1u32;
    match config.group_type() {
        GroupType::Integer => integer,
        GroupType::Power2 => {
            let power = BigUint::from(1u32) << bits[at];
            assert!(power >= integer && &power >> 1u32 < integer, "{config}");
            power
        }
        _ if offsets.is_empty() => {
            let start = format!("| {model} | ");
            let mut primes = rows(page, &start).filter(|cells| cells.len() == 2);
            let formula = primes.next().expect("F64/Bmax has a table of its own")[1];
            let (top, rest) = formula.split_once(" * 2^").expect("top * 2^n + low");
            let (exponent, low) = rest.split_once(" + ").expect("top * 2^n + low");
            let hex = |digits| BigUint::from_str_radix(digits, 16).unwrap();
            (hex(top) << exponent.parse::<u32>().unwrap()) + hex(low)
        }
        _ => integer + offsets[at],
    }
}

#[test]
fn orders_follow_from_the_page() {
    let page = page();
    let mut count = 0;
    for config in MaskConfig::all().filter(|config| !config.group_type().is_word()) {
        assert_eq!(order(&page, config), config.order(), "{config}");
        let at = ModelType::ALL.iter().position(|model| *model == config.model_type()).unwrap();
        let bits = table(&page)[&(config.data_type(), config.bound_type())][0][at];
        assert_eq!(bits as usize, config.number_bits(), "{config}");
        count += 1;
    }
    assert_eq!(count, 240);
}

#[test]
fn choices_have_the_bytes_and_places_of_the_page() {
    let page = page();
    let row = |what: &str| {
        let start = format!("| {what} type | ");
        let cells = rows(&page, &start).next().unwrap_or_else(|| panic!("{start} is missing"));
        cells[1].to_owned()
    };
    let shown = |all: Vec<(&str, u8)>| {
        all.iter().map(|(name, byte)| format!("{name} ({byte})")).collect::<Vec<_>>().join(", ")
    };
    let groups = GroupType::ALL.iter().filter(|group| !group.is_word());
    assert_eq!(row("group"), shown(groups.map(|v| (v.name(), v.to_byte())).collect()));
    let data = DataType::ALL.iter().map(|v| (v.name(), v.to_byte()));
    assert_eq!(row("data"), shown(data.collect()));
    let bounds = BoundType::ALL.iter().map(|v| (v.name(), v.to_byte()));
    assert_eq!(row("bound"), shown(bounds.collect()));
    let models = ModelType::ALL.iter().map(|v| (v.name(), v.to_byte()));
    assert!(row("model").starts_with(&shown(models.collect())), "{}", row("model"));
}

/// The files of the repository that can cite it.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            // Hidden folders, and what is built, are not ours.
            if !name.starts_with('.') && !name.starts_with("target") {
                sources(&path, found);
            }
        } else if [".rs", ".py"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}

/// The numbers of sections that a text cites: "specification, section 5", "spec sections 1 and 4".
fn citations(text: &str) -> Vec<u32> {
    // Comments are broken into lines.
    let joined = text.replace("\n//!", "").replace("\n///", "").replace("\n//", "");
    let words: Vec<_> = joined
        .split_whitespace()
        .map(|word| word.trim_matches(&['(', ')', ',', '.', ':', ';', '`', '"'][..]))
        .collect();
    let mut cited = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let is_spec = word.eq_ignore_ascii_case("spec")
            || word.to_ascii_lowercase().starts_with("specification")
            || word.ends_with("protocol.md");
        if is_spec && words.get(i + 1).is_some_and(|next| matches!(*next, "section" | "sections")) {
            let numbers = words[i + 2..]
                .iter()
                .take_while(|word| **word == "and" || word.parse::<u32>().is_ok());
            cited.extend(numbers.filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    cited
}

#[test]
fn every_section_that_is_cited_is_there() {
    let page = page();
    let headings = page.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(". "));
    let sections: Vec<u32> = headings.filter_map(|(number, _)| number.parse().ok()).collect();
    assert_eq!(sections, (1..=7).collect::<Vec<_>>());
    let mut files = Vec::new();
    sources(Path::new(ROOT), &mut files);
    let mut count = 0;
    for file in files.iter().filter(|file| !file.ends_with("tests/protocol_page.rs")) {
        let text = fs::read_to_string(file).unwrap_or_default();
        for section in citations(&text) {
            assert!(sections.contains(&section), "{file:?} cites section {section}");
            count += 1;
        }
    }
    assert!(count > 25, "only {count} citations are found");
}

#[test]
fn citations_are_found_in_comments() {
    let text = "/// So it is (specification,\n/// section 2). //! (spec section 5) of specification, sections 1 and 4)\n// \
                docs/protocol.md, section 9: x. The specification has it. A section 3.";
    assert_eq!(citations(text), [2, 5, 1, 4, 9]);
}
