//! `include/pet.h` is what the source code says, and the libraries have what it promises.

use std::path::Path;

/// The header, made of this crate. Names of values are shorter than those of their types.
fn header() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    let mut sources: Vec<_> = std::fs::read_dir(folder.join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "lib.rs"))
        .collect();
    sources.sort();
    for source in sources {
        builder = builder.with_src(source);
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let mut lines = Vec::new();
    // What Rust asks of callers is in the rules at its head.
    let mut in_safety = false;
    for line in text.lines() {
        match line.trim() {
            "// # Safety" => in_safety = true,
            comment if comment.starts_with("//") => {}
            _ => in_safety = false,
        }
        if !in_safety {
            lines.push(line);
        }
    }
    let mut text = lines.join("\n") + "\n";
    for (from, to) in [
        ("PET_STATUS_OK", "PET_OK"),
        ("PET_STATUS_", "PET_ERROR_"),
        ("PET_INPUT_KIND_", "PET_INPUT_"),
        ("PET_OUTPUT_KIND_", "PET_OUTPUT_"),
        ("PET_EVENT_KIND_", "PET_EVENT_"),
        ("PET_TASK_KIND_", "PET_TASK_"),
        ("PET_MESSAGE_KIND_", "PET_MESSAGE_"),
        ("PET_NEWS_KIND_", "PET_NEWS_"),
        ("PET_NOTICE_LEVEL_", "PET_NOTICE_"),
        ("\n//\n", "\n"),
    ] {
        text = text.replace(from, to);
    }
    text
}

#[test]
fn the_committed_header_is_what_the_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pet.h");
    if std::env::var_os("PET_WRITE_HEADER").is_some() {
        std::fs::write(&path, header()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header(),
        "include/pet.h is not what the source says: make c-header writes it anew"
    );
}
