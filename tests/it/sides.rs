//! The processes that devhost.toml has run beside the app.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Devhost, SOON, scratch, server, write_file};

/// An app without dependencies, beside which processes run.
struct App(tempfile::TempDir);

impl App {
    fn new(expression: &str, config: &str) -> Self {
        let app = Self(scratch());
        app.write(
            "Cargo.toml",
            "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n",
        );
        app.write("src/main.rs", &server(expression));
        app.write("devhost.toml", config);
        app
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write_file(self.path(name), text);
    }

    fn start(&self) -> Devhost {
        Devhost::start(self.0.path(), &["run", "--port", "0"])
    }
}

/// Returns a process's entry of a status document.
fn side<'s>(status: &'s Value, name: &str) -> &'s Value {
    let processes = status["processes"].as_array().expect("there are processes");
    processes.iter().find(|side| side["name"] == name).unwrap_or_else(|| panic!("no {name}: {status:#}"))
}

fn pid_of(status: &Value, name: &str) -> i32 {
    let pid = side(status, name)["pid"].as_i64();
    i32::try_from(pid.unwrap_or_else(|| panic!("{name} does not run: {status:#}"))).unwrap()
}

fn wait_state(devhost: &Devhost, name: &str, state: &str) -> Value {
    devhost.wait_status(SOON, &format!("{name} {state}"), |status| side(status, name)["state"] == state)
}

fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

fn wait_gone(pid: i32) {
    let deadline = Instant::now() + SOON;
    while exists(pid) {
        assert!(Instant::now() < deadline, "{pid} is still there");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_process_that_is_killed_is_started_again_and_its_lines_bear_its_name() {
    // It would end with its input.
    let config = "[processes.echo]\ncommand = 'echo \"hello from $WHO\"; pwd >&2; exec cat'\nenv = { WHO = 'me' }\ndirectory = 'src'\n\
                  [processes.long-name]\ncommand = ['sleep', '100000']\n";
    let app = App::new("\"one\"", config);
    let devhost = app.start().ready();
    devhost.wait_line("echo      | hello from me");
    devhost.wait_line(&format!("echo      | {}", app.path("src").display()));
    let status = wait_state(&devhost, "echo", "running");
    let first = pid_of(&status, "echo");
    assert_eq!(side(&status, "echo")["restarts"], 0);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    devhost.wait_line("warning: the process `echo` was ended by SIGKILL");
    let status = devhost.wait_status(SOON, "started again", |status| {
        side(status, "echo")["restarts"] == 1 && side(status, "echo")["state"] == "running"
    });
    assert_ne!(pid_of(&status, "echo"), first);
    assert_eq!(side(&status, "echo")["last_end"], serde_json::json!({"how": "signalled", "signal": 9}));
    let page = devhost.get_page("/__devhost/");
    assert!(
        page.body.contains("Processes beside the app") && page.body.contains("long-name"),
        "{}",
        page.body
    );
    assert_eq!(devhost.get("/").body, "one");
    assert!(devhost.stop().success());
}

/// It ignores SIGTERM, and has children in its group, outside its group and session, and without a parent.
const FAMILY: &str = "trap '' TERM; sleep 100001 & setsid sleep 100002 & (setsid sleep 100003 &); \
                      echo complete; wait; sleep 100004";

#[test]
fn a_process_ends_with_all_that_it_has_started_however_devhost_ends() {
    let config = format!(
        "stop-timeout-ms = 300\n[processes.family]\ncommand = {FAMILY:?}\nready-when = {{ line = '^complete$' }}\n\
         [processes.polite]\ncommand = \"trap 'echo tidied up; exit 0' TERM; echo here; while :; do sleep 0.01; done\"\n\
         ready-when = {{ line = 'here' }}\n"
    );
    let app = App::new("\"one\"", &config);
    for ends_by_itself in [true, false] {
        let devhost = app.start().ready();
        wait_state(&devhost, "family", "ready");
        let status = wait_state(&devhost, "polite", "ready");
        let pids = [pid_of(&status, "family"), pid_of(&status, "polite")];
        if ends_by_itself {
            kill(Pid::from_raw(devhost.pid()), Signal::SIGTERM).unwrap();
            devhost.wait_line("polite | tidied up");
            // Their environment shows whose processes are left.
            assert!(devhost.ended().success());
        } else {
            devhost.kill_9();
        }
        assert!(pids.iter().all(|pid| !exists(*pid)), "{pids:?}");
    }
}

#[test]
fn the_benchs_devhost_runs_none() {
    let app = App::new("\"one\"", "[processes.never]\ncommand = 'echo ran > ran; sleep 100019'\n");
    let devhost = Devhost::start(app.0.path(), &["run", "--port", "0", "--alone"]).ready();
    assert_eq!(devhost.status()["processes"], serde_json::json!([]));
    assert!(!app.path("ran").exists());
    assert!(devhost.stop().success());
}

#[test]
fn a_process_that_does_not_end_is_killed_at_the_second_ctrl_c() {
    let day = 24 * 60 * 60 * 1000;
    let config = format!(
        "stop-timeout-ms = {day}\n[processes.stubborn]\nready-when = {{ line = 'here' }}\n\
         command = \"trap 'echo asked' TERM; echo here; while :; do sleep 0.01; done\"\n"
    );
    let app = App::new("\"one\"", &config);
    let devhost = app.start().ready();
    let pid = pid_of(&wait_state(&devhost, "stubborn", "ready"), "stubborn");
    kill(Pid::from_raw(devhost.pid()), Signal::SIGINT).unwrap();
    devhost.wait_line("stubborn | asked");
    kill(Pid::from_raw(devhost.pid()), Signal::SIGINT).unwrap();
    assert!(devhost.ended().success());
    assert!(!exists(pid));
}

#[test]
fn a_process_whose_attendant_is_killed_ends_and_is_started_again() {
    let config = "[processes.watch]\ncommand = 'sleep 100018 & echo \"child $!\"; wait'\n";
    let app = App::new("\"one\"", config);
    let devhost = app.start().ready();
    let child: i32 = devhost.wait_line("watch | child ").rsplit(' ').next().unwrap().parse().unwrap();
    let pid = pid_of(&wait_state(&devhost, "watch", "running"), "watch");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let attendant =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(attendant), Signal::SIGKILL).unwrap();
    devhost.wait_line("was killed together with the process that looks after it");
    wait_gone(pid);
    wait_gone(child);
    devhost.wait_status(SOON, "started again", |status| {
        side(status, "watch")["restarts"] == 1 && side(status, "watch")["state"] == "running"
    });
    assert!(devhost.stop().success());
}

#[test]
fn what_a_process_leaves_behind_ends_before_it_is_started_again() {
    let config = "[processes.parent]\ncommand = 'setsid sleep 100005 & echo \"child $!\"; wait'\n";
    let app = App::new("\"one\"", config);
    let devhost = app.start().ready();
    let line = devhost.wait_line("parent | child ");
    let child: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let status = wait_state(&devhost, "parent", "running");
    kill(Pid::from_raw(pid_of(&status, "parent")), Signal::SIGKILL).unwrap();
    devhost.wait_line("warning: the process `parent`");
    wait_gone(child);
    assert!(devhost.stop().success());
}

#[test]
fn steps_run_in_their_order_before_the_first_build_and_a_failure_is_shown_until_it_is_mended() {
    let config = "[processes.one]\ncommand = 'echo 1 >> order'\nbefore-build = true\n\
                  [processes.two]\ncommand = 'test -e mended || { echo not yet >&2; exit 3; }; echo 2 >> order; echo made > src/made.txt'\n\
                  before-build = true\n\
                  [processes.three]\ncommand = 'echo 3 >> order; sleep 100006'\n";
    let app = App::new("include_str!(\"made.txt\").trim()", config);
    let devhost = app.start();
    devhost.wait_line("two   | not yet");
    devhost.wait_line("error: The process `two` failed before the build: it exited with code 3");
    let status = devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    assert_eq!(side(&status, "three")["state"], "waiting", "it is below the one that failed");
    assert_eq!(status["failure"]["kind"], "process");
    let page = devhost.get_page("/");
    assert_eq!(page.status, 500);
    assert!(page.body.contains("The process `two` failed before the build"), "{}", page.body);
    assert!(page.body.contains("not yet") && page.body.contains("runs again before the next build"));
    app.write("mended", "");
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert_eq!(devhost.get("/").body, "made");
    wait_state(&devhost, "three", "running");
    // Later builds do not run them again.
    app.write("src/main.rs", &server("\"edited\""));
    devhost.wait_status(SOON, "edited", |_| devhost.get("/").body == "edited");
    assert_eq!(std::fs::read_to_string(app.path("order")).unwrap(), "1\n2\n3\n");
    assert!(devhost.stop().success());
}

#[test]
fn the_app_starts_once_port_line_and_file_are_there() {
    // Bound, but nobody listens yet.
    let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let port = getsockname::<SockaddrIn>(listener.as_raw_fd()).unwrap().port();
    let config = format!(
        "[processes.port]\ncommand = 'sleep 100007'\nready-when = {{ port = {port} }}\n\
         [processes.line]\ncommand = 'while ! test -e go; do sleep 0.01; done; printf \"now it is re\"; printf \"ady\"; sleep 100008'\n\
         ready-when = {{ line = 'is read[yz]$' }}\n\
         [processes.file]\ncommand = 'while ! test -e go; do sleep 0.01; done; echo > made; sleep 100009'\nready-when = {{ file = 'made' }}\n"
    );
    let app = App::new("\"one\"", &config);
    let devhost = app.start();
    devhost.wait_line("waiting for the processes `port`, `line`, `file`");
    for name in ["port", "line", "file"] {
        wait_state(&devhost, name, "running");
    }
    app.write("go", "");
    wait_state(&devhost, "line", "ready");
    wait_state(&devhost, "file", "ready");
    devhost.wait_line("waiting for the process `port`");
    assert_eq!(devhost.status()["generation"], 0, "the app does not wait for the port");
    listen(&listener, Backlog::new(16).unwrap()).unwrap();
    let status = devhost.wait_ready(1);
    assert_eq!(side(&status, "port")["state"], "ready");
    assert_eq!(devhost.get("/").body, "one");
    assert!(devhost.stop().success());
}

#[test]
fn a_first_build_that_fails_for_want_of_a_process_is_made_again_once_that_is_ready() {
    let config = "[processes.generator]\ncommand = 'while ! test -e go; do sleep 0.01; done; echo made > src/made.txt; sleep 100010'\n\
                  ready-when = { file = 'src/made.txt' }\n";
    let app = App::new("include_str!(\"made.txt\").trim()", config);
    let devhost = app.start();
    devhost.wait_line("waiting for the process `generator`");
    app.write("go", "");
    devhost.wait_ready(1);
    assert_eq!(devhost.get("/").body, "made");
    assert!(!devhost.printed().contains("build failed"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn a_command_that_is_not_found_is_named_and_runs_once_it_is_there() {
    let config = "[processes.tool]\ncommand = ['./tool', '--watch']\nready-when = { port = 1 }\n\
                  [processes.shell]\ncommand = 'no-such-command --watch'\nrestart = false\n\
                  [processes.nowhere]\ncommand = 'true'\ndirectory = 'no/such/place'\n";
    let app = App::new("\"one\"", config);
    let devhost = app.start().ready();
    devhost.wait_line("error: the process `tool` cannot be started: the command `./tool` was not found");
    devhost.wait_line("correct `command` of [processes.tool] in devhost.toml");
    devhost.wait_line(
        "error: the process `shell` cannot be started: a command in `no-such-command --watch` was not found",
    );
    devhost.wait_line("no/such/place does not exist");
    wait_state(&devhost, "shell", "failed");
    let tool = app.path("tool");
    std::fs::write(app.path("tool.tmp"), "#!/bin/sh\necho \"now $1\"\nexec sleep 100011\n").unwrap();
    std::fs::set_permissions(app.path("tool.tmp"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(app.path("tool.tmp"), tool).unwrap();
    devhost.wait_line("now --watch");
    wait_state(&devhost, "tool", "running");
    assert!(devhost.stop().success());
}

#[test]
fn a_change_of_devhost_toml_ends_starts_and_leaves_what_it_says() {
    let app = App::new(
        "\"one\"",
        "[processes.stays]\ncommand = 'sleep 100013'\n[processes.goes]\ncommand = 'sleep 100014'\n\
         [processes.changes]\ncommand = 'echo first; sleep 100015'\n",
    );
    let devhost = app.start().ready();
    devhost.wait_line("changes | first");
    let status = wait_state(&devhost, "goes", "running");
    let pid = |name: &str| pid_of(&status, name);
    app.write(
        "devhost.toml",
        "[processes.comes]\ncommand = 'sleep 100016'\n[processes.changes]\ncommand = 'echo second; sleep 100017'\n\
         [processes.stays]\ncommand = 'sleep 100013'\n",
    );
    devhost.wait_line("changes | second");
    wait_gone(pid("goes"));
    wait_gone(pid("changes"));
    let now = wait_state(&devhost, "comes", "running");
    assert_eq!(pid_of(&now, "stays"), pid("stays"));
    let names: Vec<&Value> = now["processes"].as_array().unwrap().iter().map(|side| &side["name"]).collect();
    assert_eq!(names, ["comes", "changes", "stays"]);
    // A file that is wrong changes nothing.
    app.write("devhost.toml", "[processes.comes]\ncomand = 'x'\n");
    devhost.wait_line("devhost goes on as before");
    assert_eq!(pid_of(&devhost.status(), "stays"), pid("stays"));
    assert_eq!(devhost.status()["generation"], 1, "the app was not started anew");
    assert!(devhost.stop().success());
}

#[test]
fn ctrl_z_suspends_them_together_with_devhost() {
    let app = App::new("\"one\"", "[processes.sleeper]\ncommand = ['sleep', '100012']\n");
    let devhost = app.start().ready();
    let pid = pid_of(&wait_state(&devhost, "sleeper", "running"), "sleeper");
    let wait_stopped = |wanted: bool| {
        let deadline = Instant::now() + SOON;
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            if stat.rsplit(") ").next().unwrap().starts_with('T') == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{stat}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    kill(Pid::from_raw(devhost.pid()), Signal::SIGTSTP).unwrap();
    wait_stopped(true);
    kill(Pid::from_raw(devhost.pid()), Signal::SIGCONT).unwrap();
    wait_stopped(false);
    assert_eq!(devhost.get("/").body, "one");
    assert!(devhost.stop().success());
}
