//! Never stale: whatever happens to an app's sources, devhost's build behaves like a clean cargo build of
//! them. `cases` names each way in which a shortcut could go wrong; `walk` tries them in any order on
//! generated workspaces.
//!
//! The long run: `cargo test --workspace --test it -- --ignored --nocapture thousands_of_random_edits`, with
//! `DEVHOST_EQUIVALENCE_STEPS` for how many, and `DEVHOST_EQUIVALENCE_SEED` to repeat one walk.

mod cases;
mod model;
mod scripts;
mod site;
mod walk;

use std::collections::BTreeMap;

use devhost_model::AppKind;

use self::walk::{Difference, Plan, Tally, walk};

/// How many steps a walk has before another workspace is generated.
const WALK_STEPS: u64 = 40;

/// How many steps the long run has by default.
const LONG_RUN_STEPS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[track_caller]
fn demand(plan: Plan) -> Tally {
    walk(plan).unwrap_or_else(|Difference(text)| panic!("{text}"))
}

fn plan(kind: AppKind, seed: u64, steps: u64) -> Plan {
    Plan { kind, seed, steps }
}

#[test]
fn random_edits_of_a_plain_app_show_as_with_cargo() {
    let tally = demand(plan(AppKind::Plain, 1, 18));
    assert!(tally.replayed_count > 0 && tally.compared_count > 0 && tally.quick_count > 0, "{tally:?}");
}

#[test]
fn random_edits_of_a_plugin_app_show_as_with_cargo() {
    let tally = demand(plan(AppKind::Plugin, 2, 18));
    assert!(tally.replayed_count > 0 && tally.compared_count > 0 && tally.quick_count > 0, "{tally:?}");
}

#[test]
#[ignore = "takes hours; see CONTRIBUTING.md"]
fn thousands_of_random_edits_show_as_with_cargo() {
    let steps = number("DEVHOST_EQUIVALENCE_STEPS").unwrap_or(LONG_RUN_STEPS);
    let seed = number("DEVHOST_EQUIVALENCE_SEED");
    let first = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    let mut done = 0;
    let (mut replayed_count, mut reasons) = (0, BTreeMap::new());
    for seed in first.. {
        let kind = if seed % 2 == 0 { AppKind::Plugin } else { AppKind::Plain };
        let length = WALK_STEPS.min(steps - done);
        println!("seed {seed}: {kind:?}, {length} steps after {done}");
        let tally = demand(plan(kind, seed, length));
        done += length;
        replayed_count += tally.replayed_count;
        for (reason, count) in tally.reasons {
            *reasons.entry(reason).or_insert(0) += count;
        }
        println!("seed {seed}: as expected; so far {done} steps, {replayed_count} replayed builds");
        if done >= steps {
            break;
        }
    }
    for (reason, count) in reasons {
        println!("{count:6} {reason}");
    }
}
