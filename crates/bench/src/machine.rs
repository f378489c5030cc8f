//! The machine of a run. Unknown values stay empty.

use std::process::Command;

use super::model::Machine;

/// Describes the machine, except the load at the end and the outside tools.
pub(super) fn describe() -> Machine {
    let first_line = |tool: &str| {
        let output = Command::new(tool).arg("--version").output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
    };
    let kernel = ["ostype", "osrelease"].map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    });
    Machine {
        processor: processor(),
        processor_count: std::thread::available_parallelism().map_or(1, Into::into),
        memory_bytes: memory_bytes(),
        kernel: kernel.join(" "),
        architecture: std::env::consts::ARCH.into(),
        rustc: first_line("rustc"),
        cargo: first_line("cargo"),
        devhost: env!("CARGO_PKG_VERSION").into(),
        devhost_is_optimized: !cfg!(debug_assertions),
        tools: Vec::new(),
        load_at_start: load(),
        load_at_end: 0.0,
    }
}

/// The load average over a minute.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // x86 has a name; arm64 has numbers that only tables can turn into one.
    let named = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    named("model name")
        .or_else(|| named("CPU part").map(|part| format!("CPU part {part}")))
        .unwrap_or_default()
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = describe();
        assert!(machine.memory_bytes > 0 && machine.processor_count > 0);
        assert!(machine.rustc.starts_with("rustc ") && machine.cargo.starts_with("cargo "), "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
    }
}
