//! What programs were compiled with stays as it is: functions, sizes, offsets and values are those of `abi.txt`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The header without its comments, in one line.
fn code(header: &str) -> String {
    let (_, header) = header.split_once("#ifndef PET_H").unwrap();
    let lines = header.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with('#')
    });
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The declarations of all functions, with what they take and give.
fn declarations(header: &str) -> BTreeSet<String> {
    let code = code(header);
    let ends = code
        .split(';')
        .map(|declaration| declaration.trim().trim_start_matches("extern \"C\" {").trim());
    ends.filter(|declaration| declaration.ends_with(')') && declaration.contains("pet_"))
        .map(str::to_owned)
        .collect()
}

fn name(declaration: &str) -> String {
    declaration.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap().to_owned()
}

fn functions(header: &str) -> BTreeSet<String> {
    declarations(header).iter().map(|declaration| name(declaration)).collect()
}

/// The version that the header says: its first and its second number.
fn version(header: &str) -> String {
    let value =
        header.lines().find_map(|line| line.strip_prefix("#define PET_HEADER_VERSION ")).unwrap();
    format!("PET_HEADER_VERSION {value}\n")
}

/// Structs with their fields, and the values of enums, as the header has them.
fn layouts(header: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (mut structs, mut values) = (Vec::new(), Vec::new());
    let mut lines = header.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    while let Some(line) = lines.next() {
        let Some(name) =
            line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {"))
        else {
            if let Some((value, _)) = line.split_once(" = ") {
                if value.starts_with("PET_") {
                    values.push(value.to_owned());
                }
            }
            continue;
        };
        let mut fields = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.starts_with('}')) {
            if let Some(field) =
                line.strip_suffix(';').and_then(|field| field.rsplit([' ', '*']).next())
            {
                fields.push(field.to_owned());
            }
        }
        structs.push((name.to_owned(), fields));
    }
    (structs, values)
}

/// Asks the C compiler.
fn interface() -> String {
    let header = std::fs::read_to_string(folder().join("include/pet.h")).unwrap();
    let functions = declarations(&header);
    let (structs, values) = layouts(&header);
    assert!(
        functions.len() > 40 && structs.len() > 8 && values.len() > 50,
        "{functions:?} {structs:?} {values:?}"
    );
    let mut program = String::from("#include <pet.h>\n#include <stdio.h>\nint main(void) {\n");
    for (name, fields) in &structs {
        program += &format!("printf(\"{name}: %zu bytes\\n\", sizeof({name}));\n");
        for declaration in fields {
            let field = declaration.rsplit([' ', '*']).next().unwrap();
            program += &format!(
                "printf(\"{name}: {declaration}: at %zu, %zu bytes\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));\n"
            );
        }
    }
    for value in &values {
        program += &format!("printf(\"{value} = %ld\\n\", (long){value});\n");
    }
    program += "return 0;\n}\n";
    let dir = tempfile::tempdir().unwrap();
    let (source, run) = (dir.path().join("abi.c"), dir.path().join("abi"));
    std::fs::write(&source, program).unwrap();
    let compiled = Command::new("cc")
        .arg("-I")
        .arg(folder().join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&run)
        .output();
    let compiled = compiled.unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let out = Command::new(run).output().unwrap();
    assert!(out.status.success());
    let functions: Vec<_> =
        functions.iter().map(|declaration| format!("{declaration}\n")).collect();
    version(&header) + &functions.concat() + &String::from_utf8(out.stdout).unwrap()
}

/// What is in `abi.txt` is never changed without the first number of the version, and nothing is added without the second: it is
/// not written then, either.
#[test]
fn the_interface_is_the_one_that_programs_were_compiled_with() {
    let path = folder().join("abi.txt");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let interface = interface();
    let all = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let version = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let (now, then) = (all(&interface), all(&committed));
    let writes = std::env::var_os("PET_WRITE_HEADER").is_some();
    if writes && version(&interface) != version(&committed) {
        std::fs::write(&path, interface).unwrap();
        return;
    }
    let gone: Vec<_> = then.difference(&now).collect();
    assert!(gone.is_empty(), "programs that are compiled already break, as this is no more: {gone:#?}; raise the first number of HEADER_VERSION");
    let new: Vec<_> = now.difference(&then).collect();
    assert!(new.is_empty(), "not in abi.txt yet: raise the second number of HEADER_VERSION, then make c-header: {new:#?}");
}

#[test]
fn the_shared_library_has_the_functions_of_the_header_and_no_others() {
    let header = std::fs::read_to_string(folder().join("include/pet.h")).unwrap();
    let this = std::env::current_exe().unwrap();
    let library = this.parent().unwrap().join("libpet.so");
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let exported: BTreeSet<_> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect();
    assert_eq!(exported, functions(&header));
}
