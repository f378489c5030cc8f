//! Sample bench reports, for the tests of how reports are shown. The figures are invented; only tests may use
//! them.

use super::model::{
    ArtifactCell, ArtifactRow, ForkCost, ForkSample, Machine, Memory, ReloadSample, Report, Requests,
    SCHEMA_VERSION, Settings, Skipped, Step, StepPart, Strategy, StrategyResult, Verdict,
};

const MIB: f64 = 1024.0 * 1024.0;

/// A mostly good run with a value in each field somewhere.
pub(super) fn full() -> Report {
    let strategies = [
        sampled(
            Strategy::Inprocess,
            &[("notice", 1.3), ("build", 702.0), ("load", 1.9), ("start", 2.4)],
            5.6,
            12,
        ),
        sampled(
            Strategy::Fork,
            &[("notice", 1.3), ("build", 694.0), ("fork", 0.42), ("load", 1.1), ("start", 2.1)],
            0.01,
            12,
        ),
        sampled(
            Strategy::ForkNoPreload,
            &[("notice", 1.3), ("build", 699.0), ("fork", 0.31), ("load", 21.7), ("start", 2.2)],
            0.02,
            12,
        ),
        sampled(
            Strategy::Spawn,
            &[("notice", 1.4), ("build", 701.0), ("exec", 7.9), ("load", 22.4), ("start", 2.3)],
            -0.01,
            12,
        ),
        sampled(
            Strategy::Restart,
            &[("build", 1904.0), ("stop", 1.2), ("exec", 9.1), ("start", 3.8)],
            0.0,
            12,
        ),
        sampled(
            Strategy::RestartLineTables,
            &[("build", 1651.0), ("stop", 1.1), ("exec", 8.7), ("start", 3.6)],
            0.0,
            12,
        ),
        compiled(12),
        sampled(Strategy::CargoWatch, &[("notice", 213.0), ("build", 2077.0), ("exec", 41.0)], 0.0, 11),
        StrategyResult {
            failure: Some("the app ended with exit code 101 before it was ready".into()),
            ..StrategyResult::new(Strategy::Dx)
        },
    ];
    Report {
        is_complete: true,
        duration_ms: 312_450.0,
        strategies: strategies.into(),
        skipped: vec![
            Skipped {
                name: "watchexec".into(),
                reason: "it is not installed; `cargo install watchexec-cli` gets it".into(),
            },
            Skipped {
                name: "bacon".into(),
                reason: "it is not installed; `cargo install --locked bacon` gets it".into(),
            },
        ],
        fork_costs: [(10, 3.1), (100, 29.4), (300, 88.2)].map(|(crates, mib)| fork_cost(crates, mib)).into(),
        artifacts: artifacts(),
        ..empty()
    }
}

/// Cancelled before anything was measured.
pub(super) fn empty() -> Report {
    Report {
        schema_version: SCHEMA_VERSION,
        is_complete: false,
        began_unix_s: 1_764_061_200,
        duration_ms: 1_250.0,
        machine: Machine {
            processor: "An Invented Processor 9000".into(),
            processor_count: 8,
            memory_bytes: 16 << 30,
            kernel: "Linux 6.18.0".into(),
            architecture: "x86_64".into(),
            rustc: "rustc 1.95.0 (0000000000 2026-04-14)".into(),
            cargo: "cargo 1.95.0 (0000000000 2026-04-14)".into(),
            devhost: "0.1.0".into(),
            devhost_is_optimized: false,
            tools: vec![("cargo-watch".into(), "8.5.3".into()), ("dx".into(), "0.7.10".into())],
            load_at_start: 0.42,
            load_at_end: 1.87,
        },
        settings: Settings {
            app: "guest-book".into(),
            reload_count: 12,
            edited_file: "src/pages.rs".into(),
            requests_per_second: 20.0,
        },
        strategies: Vec::new(),
        skipped: Vec::new(),
        fork_costs: Vec::new(),
        artifacts: Vec::new(),
    }
}

/// One reload of one strategy.
pub(super) fn single() -> Report {
    let mut report = full();
    report.strategies.retain(|it| it.strategy == Strategy::Fork);
    report.strategies[0].reloads.truncate(1);
    report.skipped.clear();
    report.fork_costs.clear();
    report.artifacts.clear();
    report
}

/// The names of app, tool and machine try to break out of the page and the terminal.
pub(super) fn hostile() -> Report {
    let mut report = full();
    let hostile =
        "</style></title><script>alert(1)</script>\"'&\x1b[2J]]>--><img src=x onerror=alert(2)>".to_owned();
    let texts = [
        &mut report.machine.processor,
        &mut report.machine.kernel,
        &mut report.machine.architecture,
        &mut report.machine.rustc,
        &mut report.machine.cargo,
        &mut report.machine.devhost,
        &mut report.settings.app,
        &mut report.settings.edited_file,
    ];
    texts.into_iter().for_each(|text| text.clone_from(&hostile));
    report.machine.tools = vec![(hostile.clone(), hostile.clone())];
    for skipped in &mut report.skipped {
        skipped.name.clone_from(&hostile);
        skipped.reason.clone_from(&hostile);
    }
    for result in &mut report.strategies {
        result.failure = Some(hostile.clone());
        result.notes = vec![hostile.clone()];
        for reload in &mut result.reloads {
            reload.steps[0].name.clone_from(&hostile);
        }
    }
    for row in &mut report.artifacts {
        row.kind.clone_from(&hostile);
        row.title.clone_from(&hostile);
        row.explanation.clone_from(&hostile);
        row.cells.iter_mut().for_each(|cell| cell.observation.clone_from(&hostile));
    }
    report
}

/// Reloads around these times, a little skewed. Each adds `growth_mib` to the process.
fn sampled(strategy: Strategy, steps: &[(&str, f64)], growth_mib: f64, count: u32) -> StrategyResult {
    let mut random = Random(strategy as u64 + 1);
    let reloads = (1..=count).map(|round| {
        // Whatever slows down a round slows down all its strategies.
        let noise_of_round = Random(u64::from(round) * 7_919).next() * 0.12;
        let noise = 0.97 + noise_of_round + 0.1 * random.next().powi(4);
        let mut steps: Vec<Step> = steps
            .iter()
            .map(|(name, typical_ms)| Step::new(name, typical_ms * (noise + 0.04 * random.next())))
            .collect();
        steps.push(Step::new("first-response", 1.4 + random.next()));
        steps.push(Step::new("other", 0.6 + 0.5 * random.next()));
        let total_ms = steps.iter().map(|step| step.duration_ms).sum::<f64>();
        let is_restart =
            matches!(strategy, Strategy::Restart | Strategy::RestartLineTables | Strategy::CargoWatch);
        let sent_count = (total_ms / 50.0) as u32;
        let resident_mib = 31.0 + f64::from(round) * growth_mib + 0.3 * random.next();
        ReloadSample {
            round,
            began_ms: f64::from(round) * 9_000.0 + f64::from(strategy as u32) * 1_000.0,
            total_ms,
            steps,
            // A tool's child that ended before it could be measured.
            memory: (strategy != Strategy::CargoWatch || round % 4 != 0).then_some(Memory {
                rss_bytes: (resident_mib * MIB) as u64,
                pss_bytes: (resident_mib * 0.55 * MIB) as u64,
                private_dirty_bytes: ((resident_mib - 27.0) * 0.8 * MIB) as u64,
            }),
            requests: Requests {
                sent_count,
                failed_count: if is_restart { 1 + round % 2 } else { 0 },
                held_count: if is_restart { 0 } else { sent_count.saturating_sub(1) },
                longest_wait_ms: if is_restart {
                    14.0 + random.next()
                } else {
                    total_ms - 30.0 * random.next()
                },
            },
            cpu_ms: (strategy != Strategy::CargoWatch).then_some(total_ms * (1.3 + 0.2 * random.next())),
        }
    });
    let is_devhosts = [Strategy::Fork, Strategy::ForkNoPreload].contains(&strategy);
    let note = is_devhosts
        .then(|| "`cxx`, and what uses it, is linked into the app, which makes a reload slower".into());
    StrategyResult {
        reloads: reloads.collect(),
        notes: note.into_iter().collect(),
        ..StrategyResult::new(strategy)
    }
}

/// Bare rustc calls, which serve nothing.
fn compiled(count: u32) -> StrategyResult {
    let mut result = sampled(Strategy::Rustc, &[("build", 655.0)], 0.0, count);
    for reload in &mut result.reloads {
        reload.steps.truncate(1);
        let build = &mut reload.steps[0];
        reload.total_ms = build.duration_ms;
        let part = |name: &str, share: f64| StepPart {
            name: name.to_owned(),
            duration_ms: build.duration_ms * share,
        };
        build.parts = vec![part("page", 0.3), part("guest_book", 0.7)];
        reload.memory = None;
        reload.requests = Requests::default();
    }
    result
}

fn fork_cost(crate_count: u32, image_mib: f64) -> ForkCost {
    let mut random = Random(u64::from(crate_count));
    let samples = (0..20).map(|_| {
        let fork_ms = 0.09 + image_mib * 0.006 + 0.03 * random.next();
        ForkSample {
            fork_ms,
            answer_ms: fork_ms + 0.11 + image_mib * 0.002 + 0.05 * random.next(),
            page_fault_count: 140 + u64::from(crate_count) / 3 + (random.next() * 9.0) as u64,
        }
    });
    ForkCost {
        crate_count,
        image_bytes: (image_mib * MIB) as u64,
        rss_bytes: ((image_mib * 0.7 + 6.0) * MIB) as u64,
        samples: samples.collect(),
    }
}

fn artifacts() -> Vec<ArtifactRow> {
    let kinds = [
        (
            "static-value",
            "A static that counts",
            "State of the old code goes on in the new one.",
            Verdict::Left,
            "the static is still 7",
        ),
        (
            "thread",
            "A thread that goes on",
            "It runs in code that is no longer mapped.",
            Verdict::Crashed,
            "SIGSEGV 4 ms after dlclose",
        ),
        (
            "thread-local",
            "A destructor of a thread-local",
            "The library stays mapped as long as the thread lives, and the old code is served again.",
            Verdict::Left,
            "the library is still mapped",
        ),
        (
            "exit-handler",
            "A function given to atexit",
            "The end of the process calls what is gone.",
            Verdict::Hung,
            "no end within 5 s",
        ),
        (
            "descriptor",
            "A file that nobody closes",
            "Each reload costs a descriptor, until there are no more.",
            Verdict::Left,
            "11 descriptors more after 10 reloads",
        ),
    ];
    let tried =
        [Strategy::Inprocess, Strategy::Fork, Strategy::ForkNoPreload, Strategy::Spawn, Strategy::Restart];
    let rows = kinds.into_iter().map(|(kind, title, explanation, verdict, observation)| ArtifactRow {
        kind: kind.into(),
        title: title.into(),
        explanation: explanation.into(),
        cells: tried
            .into_iter()
            .map(|strategy| {
                let is_clean = strategy != Strategy::Inprocess;
                ArtifactCell {
                    strategy,
                    verdict: if is_clean { Verdict::Clean } else { verdict },
                    observation: if is_clean { "as after a cold start" } else { observation }.into(),
                    verdict_without_trait: Verdict::Clean,
                    try_count: 3,
                }
            })
            .collect(),
    });
    rows.collect()
}

/// `SplitMix64`: the same samples each time.
struct Random(u64);

impl Random {
    /// Returns a number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
