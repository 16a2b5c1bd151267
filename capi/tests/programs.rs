//! The examples in C and C++ take part in real rounds: with warnings as errors, under the sanitizers, and under valgrind.
#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator,
};
use pet_participant::transport::core::{
    crypto::{PublicEncryptKey, RoundSeed},
    mask::MaskConfig,
    round::RoundParameters,
};

/// The program that makes wrong calls wants the parameters of a round in which everyone updates.
fn write_parameters(folder: &Path) -> PathBuf {
    let mask: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
    let parameters = RoundParameters {
        pk: PublicEncryptKey::new([1; 32]),
        sum: 0.0,
        update: 1.0,
        seed: RoundSeed::new([2; 32]),
        mask_config: mask.into(),
        model_length: 4,
    };
    let path = folder.join("parameters");
    std::fs::write(&path, parameters.to_bytes()).unwrap();
    path
}

const DEADLINE: Duration = Duration::from_secs(600);

/// What the static library wants of the system.
const SYSTEM: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lrt"];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with `libpet.so` and `libpet.a`, which cargo has built for these tests.
fn libraries() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let deps = this.parent().unwrap();
    assert!(deps.join("libpet.a").exists(), "there is no libpet.a in {}", deps.display());
    deps.to_owned()
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn has_curl() -> bool {
    let there = Command::new("cc")
        .args(["-E", "-include", "curl/curl.h", "-x", "c", "/dev/null"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        eprintln!("left out: there are no headers of libcurl (libcurl4-openssl-dev)");
    }
    there
}

/// Compiles a source with all warnings as errors, and links it with the static library.
fn compile(compiler: &str, source: &Path, to: &Path, options: &[&str]) {
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-g", "-I"])
        .arg(folder().join("include"))
        .arg(source)
        .arg("-o")
        .arg(to)
        .args(options)
        .arg(libraries().join("libpet.a"))
        .args(options.iter().filter(|option| option.starts_with("-l")))
        .args(SYSTEM)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn settings(model_length: u64) -> Settings {
    // Long enough for ten in one process under valgrind. Rounds in which nobody sums end sooner.
    let time = MinMax { min: Duration::from_millis(200), max: Duration::from_secs(30) };
    let mut settings = Settings::for_model_length(model_length);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.time = MinMax { max: Duration::from_secs(10), ..time };
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    settings.pet.sum.prob = 0.3;
    settings.pet.update.prob = 1.0;
    settings
}

/// Waits for its end; after a deadline it is killed.
fn finish(mut child: Child) -> Output {
    let end = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("not in time: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Each trains towards its own number: whoever was added up, the mean is between the smallest and the largest.
fn check_round(output: &Output) {
    let (out, err) = said(output);
    assert!(output.status.success(), "{out}\n{err}");
    // Not the model of others: it was made here.
    assert!(err.contains("the update message is sent"), "{err}");
    assert!(err.contains("the sum2 message is sent"), "{err}");
    let line = out.lines().find_map(|line| line.strip_prefix("global model:")).expect(&err);
    let weights: Vec<f64> = line.split_whitespace().map(|weight| weight.parse().unwrap()).collect();
    assert_eq!(weights.len(), 4, "{line}");
    assert!(weights.iter().all(|weight| (0.0..0.5).contains(weight)), "{line}");
    assert!(weights.iter().all(|weight| weight == &weights[0]), "{line}");
}

/// With a coordinator of its own: each makes a round.
async fn make_a_round(model_length: u64, command: &[&str]) {
    let coordinator = Coordinator::start(settings(model_length)).await.unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    let child = spawn(Command::new(command[0]).args(&command[1..]).args([&url, "10"]));
    let output = tokio::task::spawn_blocking(|| finish(child)).await.unwrap();
    check_round(&output);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_machines_on_libcurls_multi_interface_make_a_round() {
    if !has_curl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = folder().join("examples/round.c");
    // The sanitizers end the program at the first thing that is wrong, and tell what was not freed. With so many weights there are
    // several jobs at a time.
    let sanitized = dir.path().join("sanitized");
    let options = ["-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-lcurl"];
    compile("cc", &source, &sanitized, &options);
    make_a_round(20_000, &[sanitized.to_str().unwrap()]).await;
    if !has("valgrind") {
        eprintln!("left out: there is no valgrind");
        return;
    }
    let plain = dir.path().join("plain");
    compile("cc", &source, &plain, &["-std=c11", "-O2", "-lcurl"]);
    let valgrind = [
        "valgrind",
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        plain.to_str().unwrap(),
    ];
    make_a_round(4, &valgrind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_participants_go_on_with_their_files() {
    let coordinator = Coordinator::start(settings(4)).await.unwrap();
    let url = format!("http://{}", coordinator.local_addr());
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("driver");
    let options = ["-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover"];
    compile("cc", &folder().join("examples/driver.c"), &program, &options);
    let plus = dir.path().join("driver-plus");
    compile("c++", &folder().join("examples/driver.cpp"), &plus, &["-std=c++17"]);
    let mut names: Vec<String> = Vec::new();
    for _ in 0..2 {
        let children: Vec<_> = (0..7)
            .map(|number| {
                let program = if number % 2 == 0 { &program } else { &plus };
                let state = dir.path().join(format!("{number}.state"));
                // At the end a thread may be in its last request, with memory that nobody else has: that is no leak.
                let mut command = Command::new(program);
                command.env("ASAN_OPTIONS", "detect_leaks=0");
                spawn(command.arg(&url).arg(state).arg("2"))
            })
            .collect();
        for (number, child) in children.into_iter().enumerate() {
            let output = finish(child);
            let (out, err) = said(&output);
            assert!(output.status.success(), "{out}\n{err}");
            let name = out.lines().next().unwrap().to_owned();
            match names.get(number) {
                // The same participant as before.
                Some(before) => assert_eq!(&name, before),
                None => names.push(name),
            }
        }
    }
    coordinator.shutdown().await.unwrap();
}

/// What is wrong with a call is a code and a text, and never an abort.
#[test]
fn wrong_calls_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("wrong");
    let options = ["-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover"];
    compile("cc", &folder().join("tests/wrong.c"), &program, &options);
    let output = finish(spawn(Command::new(program).arg(write_parameters(dir.path()))));
    let (out, err) = said(&output);
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.trim(), "all wrong calls were answered");
}

/// As somebody has it who installs it: pkg-config says how, and the shared library is found by its name.
#[test]
fn an_installed_library_is_found_by_pkg_config() {
    if !has("pkg-config") {
        eprintln!("left out: there is no pkg-config");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let installed =
        Command::new(folder().join("install")).arg(libraries()).arg(dir.path()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let asked = Command::new("pkg-config")
        .args(["--cflags", "--libs", "pet"])
        .env("PKG_CONFIG_PATH", dir.path().join("lib/pkgconfig"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let flags = String::from_utf8(asked.stdout).unwrap();
    let program = dir.path().join("wrong");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror"])
        .arg(folder().join("tests/wrong.c"))
        .arg("-o")
        .arg(&program)
        .args(flags.split_whitespace())
        .arg("-lpthread")
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let mut command = Command::new(&program);
    let output = finish(spawn(
        command.arg(write_parameters(dir.path())).env("LD_LIBRARY_PATH", dir.path().join("lib")),
    ));
    let (out, err) = said(&output);
    assert!(output.status.success(), "{out}\n{err}");
}
