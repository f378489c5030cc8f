//! `devhost run` with several apps: what they cannot have together, and the parts of each. An app that cannot be served is
//! said, and the others are served.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::configured::Chosen;
use super::line::Line;
use super::run::{configure, prepare, start_log};
use crate::cli::{Command, RunArgs};
use crate::runner::{ConfigFile, NotServed, Parts, run_together};
use devhost_config::Stronger as _;
use devhost_model::Error;
use devhost_sys::inherited;
use devhost_terminal::{Label, Terminal};

/// An app's completed command line, or what is wrong with it.
type Configured = Result<(RunArgs, ConfigFile), Error>;

/// Serves several apps until the user ends it.
pub(super) fn serve(
    line: Line,
    chosen: Vec<Chosen>,
    cwd: &Path,
    begun: Instant,
    terminal: &mut Arc<Terminal>,
) -> Result<(), Error> {
    refuse(&line, &chosen)?;
    let titles: Vec<String> = chosen.iter().map(Chosen::title).collect();
    let processes: BTreeSet<String> =
        chosen.iter().flat_map(|app| app.settings(&line).processes).map(|process| process.name).collect();
    let all = titles.iter().chain(&processes);
    let width = all.map(|name| name.chars().count()).max().unwrap_or_default();
    let line = Rc::new(line);
    let mut configured: Vec<(Label, Configured)> = Vec::new();
    for (index, (app, title)) in chosen.into_iter().zip(titles).enumerate() {
        // Their colours come after those of the processes.
        let label = Label { name: title, width, place: processes.len() + index };
        configured.push((label, configure(Rc::clone(&line), app, cwd)));
    }
    let of_whole = configured.iter().find_map(|(_, configured)| configured.as_ref().ok());
    if let Some((args, _)) = of_whole {
        start_log(args.verbose);
        let all = Terminal::new(args.message_format, args.verbose > 0);
        *terminal = Arc::new(all.with_names_width(width));
    }
    let whole = |label: &Label, args: &RunArgs| (label.clone(), args.port, args.stdin);
    let known: Vec<_> = configured
        .iter()
        .filter_map(|(label, configured)| configured.as_ref().ok().map(|(args, _)| whole(label, args)))
        .collect();
    refuse_common_port(
        &known.iter().map(|(label, port, _)| (label.name.as_str(), *port)).collect::<Vec<_>>(),
    )?;
    if let Some((label, ..)) = known.iter().find(|(.., stdin)| *stdin) {
        return Err(Error::mistake(
            format!("`{}` cannot have the standard input: several apps are served", label.name),
            "leave out `stdin`, or serve that app alone",
        ));
    }
    let (mut apps, mut not_served) = (Vec::<Parts>::new(), Vec::new());
    let mut opens = true;
    for (label, configured) in configured {
        let name = label.name.clone();
        let own = Arc::new(terminal.of_app(label));
        let prepared = configured.and_then(|(mut args, file)| {
            // One tab is enough: its page leads to the others.
            args.open &= opens;
            opens &= !args.open;
            prepare(args, file, begun, &own, Some(&name), Vec::new())
        });
        match prepared {
            Ok(mut parts) => {
                if let Some(first) = apps.first() {
                    parts.builder.share_with(&first.builder);
                }
                apps.push(parts);
            }
            Err(error) => {
                own.error(&error);
                not_served.push(NotServed { name, kind: "plain" });
            }
        }
    }
    if apps.is_empty() {
        return Err(Error::mistake("none of the apps can be served", "the errors above say why"));
    }
    run_together(apps, not_served, Arc::clone(terminal))
}

/// Refuses what only one app can have.
fn refuse(line: &Line, chosen: &[Chosen]) -> Result<(), Error> {
    let names = chosen.iter().map(Chosen::title).collect::<Vec<_>>().join(", ");
    let alone = "or serve one app: `devhost run NAME`";
    if let Command::Run(args) = line.alone()? {
        let one = [
            ("--stdin", args.stdin),
            ("--bin", args.selection.bin.is_some()),
            ("--example", args.selection.example.is_some()),
        ];
        if let Some((option, _)) = one.iter().find(|(_, is_given)| *is_given) {
            return Err(Error::mistake(
                format!("{option} is for one app, and these are served: {names}"),
                format!("leave it out, {alone}"),
            ));
        }
        if line.decides("port")
            && let Some(port) = args.port.filter(|port| *port != 0)
        {
            return Err(Error::mistake(
                format!("several apps cannot listen on one port, {port}: {names}"),
                format!(
                    "give each its own in devhost.toml (`port` in [apps.NAME]), leave --port out, {alone}"
                ),
            ));
        }
    }
    let sockets = inherited::take().map_err(|error| {
        Error::mistake(
            format!("the sockets that devhost was started with cannot be used: {error}"),
            "unset LISTEN_FDS",
        )
    })?;
    if !sockets.is_empty() {
        return Err(Error::mistake(
            format!(
                "devhost was started with sockets (LISTEN_FDS), and cannot tell which is for which app: {names}"
            ),
            format!("unset LISTEN_FDS, {alone}"),
        ));
    }
    Ok(())
}

/// Refuses a port that two apps have.
fn refuse_common_port(apps: &[(&str, Option<u16>)]) -> Result<(), Error> {
    let mut owners: HashMap<u16, &str> = HashMap::new();
    for (name, port) in apps {
        let Some(port) = port.filter(|port| *port != 0) else { continue };
        if let Some(other) = owners.insert(port, name) {
            return Err(Error::mistake(
                format!("`{other}` and `{name}` cannot both listen on port {port}"),
                "give each its own: `port` in [apps.NAME] of devhost.toml; one at the top level holds for all apps",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_two_apps_names_both_and_a_free_one_is_for_each() {
        let error =
            refuse_common_port(&[("api", Some(80)), ("site", None), ("admin", Some(80))]).unwrap_err();
        assert!(
            error.message.contains("`api` and `admin`") && error.message.contains("80"),
            "{}",
            error.message
        );
        assert!(refuse_common_port(&[("api", Some(0)), ("admin", Some(0)), ("site", Some(1))]).is_ok());
    }
}
