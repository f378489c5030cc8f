//! The raw samples, one line per reload and strategy. The columns are always the same and in the same order;
//! unknown steps follow the known ones. Quoted as in RFC 4180, but lines end with a line feed.

use std::fmt::Display;

use super::summary::{STEP_ORDER, step_names, steps_of};
use crate::model::Report;

const COLUMNS_BEFORE_STEPS: [&str; 4] = ["strategy", "round", "began_ms", "total_ms"];
const COLUMNS_AFTER_STEPS: [&str; 8] = [
    "rss_bytes",
    "pss_bytes",
    "private_dirty_bytes",
    "requests_sent",
    "requests_failed",
    "requests_held",
    "longest_wait_ms",
    "cpu_ms",
];

/// Renders a report as CSV. What was not measured is empty.
pub fn csv(report: &Report) -> String {
    let mut steps: Vec<String> = STEP_ORDER.map(str::to_owned).to_vec();
    steps.extend(step_names(report).into_iter().filter(|name| !STEP_ORDER.contains(&name.as_str())));
    let mut out = String::new();
    let mut head: Vec<String> = COLUMNS_BEFORE_STEPS.map(str::to_owned).to_vec();
    head.extend(steps.iter().map(|name| format!("step_{}_ms", name.replace('-', "_"))));
    head.extend(COLUMNS_AFTER_STEPS.map(str::to_owned));
    write_line(&mut out, &head);
    for result in &report.strategies {
        for reload in &result.reloads {
            let durations = steps_of(reload);
            let memory = reload.memory.as_ref();
            let mut line = vec![
                result.strategy.name(),
                reload.round.to_string(),
                reload.began_ms.to_string(),
                reload.total_ms.to_string(),
            ];
            line.extend(
                steps.iter().map(|name| or_empty(durations.iter().find(|it| it.0 == name).map(|it| it.1))),
            );
            line.extend([
                or_empty(memory.map(|it| it.rss_bytes)),
                or_empty(memory.map(|it| it.pss_bytes)),
                or_empty(memory.map(|it| it.private_dirty_bytes)),
                reload.requests.sent_count.to_string(),
                reload.requests.failed_count.to_string(),
                reload.requests.held_count.to_string(),
                reload.requests.longest_wait_ms.to_string(),
                or_empty(reload.cpu_ms),
            ]);
            write_line(&mut out, &line);
        }
    }
    out
}

fn or_empty(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn write_line(out: &mut String, fields: &[String]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn empty_report_is_the_header_alone() {
        assert_eq!(
            csv(&sample::empty()),
            "strategy,round,began_ms,total_ms,step_notice_ms,step_build_ms,step_stop_ms,step_fork_ms,step_exec_ms,\
             step_load_ms,step_start_ms,step_first_response_ms,step_other_ms,rss_bytes,pss_bytes,private_dirty_bytes,\
             requests_sent,requests_failed,requests_held,longest_wait_ms,cpu_ms\n"
        );
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "what was written is read back exactly")]
    fn each_reload_is_a_line_that_can_be_read_back() {
        let report = sample::full();
        let text = csv(&report);
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let head = lines.next().unwrap();
        let column = |name: &str| head.iter().position(|it| *it == name).unwrap();
        for result in &report.strategies {
            for reload in &result.reloads {
                let line = lines.next().unwrap();
                assert_eq!(line.len(), head.len());
                assert_eq!(line[column("strategy")], result.strategy.name());
                assert_eq!(line[column("total_ms")].parse::<f64>().unwrap(), reload.total_ms);
                let build = reload.steps.iter().find(|step| step.name == "build").unwrap();
                assert_eq!(line[column("step_build_ms")].parse::<f64>().unwrap(), build.duration_ms);
                assert_eq!(
                    line[column("private_dirty_bytes")],
                    reload.memory.map(|it| it.private_dirty_bytes.to_string()).unwrap_or_default()
                );
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn names_with_commas_quotes_and_line_ends_are_quoted() {
        let mut report = sample::full();
        report.strategies.truncate(1);
        report.strategies[0].reloads.truncate(1);
        report.strategies[0].reloads[0].steps[0].name = "a \"b\", c\nd".into();
        assert!(csv(&report).contains(",\"step_a \"\"b\"\", c\nd_ms\","));
    }
}
