//! What the numbers were taken on.

use std::process::Command;

use serde::Serialize;

/// The machine, the day, and the versions.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// How many of its threads may be used.
    pub cores: usize,
    /// Vector instructions that matter here.
    pub instructions: Vec<&'static str>,
    /// The day, as 2026-11-24 (UTC).
    pub date: String,
    /// The compiler.
    pub rustc: String,
    /// The source's revision, marked if it was changed since.
    pub revision: String,
    /// The published crate that ours is compared with.
    pub old: &'static str,
}

/// Looks around.
pub fn describe() -> Machine {
    Machine {
        processor: processor(),
        cores: cores(),
        instructions: instructions(),
        date: first_line("date", &["-u", "+%Y-%m-%d"]),
        rustc: first_line("rustc", &["--version"]),
        revision: first_line("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        old: "xaynet-core 0.2.0",
    }
}

/// How many threads a step on all cores has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

fn instructions() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look_for {
            ($($name:tt)*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look_for!("avx2" "avx512f" "avx512vbmi2");
    }
    found
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.lines().next().map(String::from))
        .unwrap_or_else(|| "unknown".into())
}
