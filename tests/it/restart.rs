//! The keeper of the `restart` strategy, with small programs: its reports for them, where their listeners go,
//! and that nothing outlives it. The devhost executable is the keeper; this test plays the front.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devhost_build::{Builder, Outcome, Settings, Strategy};
use devhost_process::{
    AppStart, Argv, Channel, ForkOrder, LauncherClient, Listening, Report, Role, WorkerReport,
};
use devhost_sys::output::Output;
use devhost_sys::parent::Ask;
use devhost_sys::program;
use devhost_sys::seqpacket;
use devhost_sys::trail::Trail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{COLD_BUILD, Devhost, SOON, cargo_turn, run_to_end, scratch};

/// Answers each connection with what the app knows about itself.
const SERVER: &str = r#"
    use std::io::Write;
    use std::net::TcpListener;
    fn main() {
        let address = std::env::args().nth(1).unwrap();
        let listener = TcpListener::bind(address.as_str()).unwrap();
        let also = std::env::args().nth(2).map(|also| TcpListener::bind(also.as_str()).unwrap());
        loop {
            let (mut client, _) = listener.accept().unwrap();
            let preload = std::env::var_os("LD_PRELOAD").is_some();
            let marked = std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("DEVHOST_INTERPOSE"));
            let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
            let own = listener.local_addr().unwrap();
            let _ = write!(client, "{own} {preload} {marked} {} {files}", also.is_some());
        }
    }
"#;

/// Compiles a program with its own flags.
fn compile(dir: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let file = dir.join(format!("{name}.rs"));
    std::fs::write(&file, source).unwrap();
    let program = dir.join(name);
    let status =
        Command::new("rustc").args(["--edition=2024", "-o"]).arg(&program).arg(&file).args(flags).status();
    assert!(status.unwrap().success(), "rustc refused {name}");
    program
}

/// A keeper, and its socket's runtime.
struct Front {
    runtime: tokio::runtime::Runtime,
    keeper: LauncherClient,
}

/// The front's end of a program.
struct Worker {
    channel: Channel,
    pid: i32,
}

impl Front {
    fn start(args: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let argv = Argv {
            name: "shop".into(),
            args: args.iter().map(Into::into).collect(),
            variables: Vec::new(),
            at_terminal: false,
            stdout_is_taken: true,
            output: None,
        };
        let keeper = {
            let _entered = runtime.enter();
            LauncherClient::start(Path::new(env!("CARGO_BIN_EXE_devhost")), &argv, Role::Keeper).unwrap()
        };
        let front = Self { runtime, keeper };
        assert_eq!(front.report(), Report::Preloaded { micros: 0 });
        front
    }

    fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let limited = self.runtime.block_on(async { tokio::time::timeout(SOON, future).await });
        limited.unwrap_or_else(|_| panic!("{what} never came"))
    }

    fn report(&self) -> Report {
        self.soon("a report", self.keeper.report()).expect("the keeper is there")
    }

    fn begin(&self, generation: u64, program: &Path) -> (Channel, Report) {
        let (ours, theirs): (OwnedFd, OwnedFd) = seqpacket::pair().unwrap();
        let order = ForkOrder {
            libraries: Vec::new(),
            generation,
            artifact: program,
            start: AppStart::Plain { wanted_port: 0 },
            variables: Vec::new(),
            worker: &theirs,
            output: &Output::create().unwrap(),
            trail: &Trail::create(&[]).unwrap(),
            stdin: None,
            earlier: None,
        };
        self.keeper.fork(order).unwrap();
        drop(theirs);
        let _entered = self.runtime.enter();
        (Channel::new(ours).unwrap(), self.report())
    }

    fn fork(&self, generation: u64, program: &Path) -> Worker {
        let (channel, report) = self.begin(generation, program);
        let Report::Forked { generation: forked, pid, .. } = report else { panic!("{report:?}") };
        assert_eq!(forked, generation);
        Worker { channel, pid }
    }

    fn hear(&self, worker: &Worker) -> Option<WorkerReport> {
        self.soon("a worker's report", worker.channel.receive())
    }

    /// Waits until the program listens. Returns its reports on the way.
    fn ready(&self, worker: &Worker) -> (Listening, Vec<String>) {
        let mut notes = Vec::new();
        loop {
            match self.hear(worker).expect("the program runs") {
                WorkerReport::Ready { listening, .. } => {
                    return (listening.expect("it is a plain app"), notes);
                }
                WorkerReport::Note { message } => notes.push(message),
                _ => {}
            }
        }
    }

    fn end(self) {
        self.soon("the end", self.keeper.end(SOON));
    }
}

fn ask(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_gone(pid: i32) {
    let deadline = std::time::Instant::now() + SOON;
    while Path::new(&format!("/proc/{pid}/exe")).exists()
        && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
    {
        assert!(std::time::Instant::now() < deadline, "{pid} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_listener_gets_a_private_port_and_the_app_sees_the_one_it_asked_for() {
    let dir = scratch();
    let program = compile(dir.path(), "server", SERVER, &[]);
    // Only the test has the port: the app must not need it.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = taken.local_addr().unwrap().to_string();
    let front = Front::start(&[&asked]);
    let worker = front.fork(1, &program);
    let Some(WorkerReport::Loaded { build_id, plugin, .. }) = front.hear(&worker) else {
        panic!("not loaded")
    };
    assert_eq!((build_id, plugin.as_str()), (program::build_id(&program).unwrap(), "shop"));
    let (listening, notes) = front.ready(&worker);
    assert_eq!((listening.asked.as_str(), notes.len()), (asked.as_str(), 0));
    assert!(!listening.keeps_its_port());
    assert_eq!(listening.port, taken.local_addr().unwrap().port());
    assert_ne!(listening.private.port(), listening.port);
    // Its address, no LD_PRELOAD, none of our variables, one listener; and the standard streams, the socket
    // to the keeper, the listener, the connection and the directory being read.
    assert_eq!(ask(listening.private), format!("{asked} false false false 7"));

    // The next generation has its own port while this one lives.
    let next = front.fork(2, &program);
    let (second, _) = front.ready(&next);
    assert_ne!(second.private, listening.private);
    assert!(ask(second.private).starts_with(&asked));

    front.keeper.ask(worker.pid, Ask::Terminate).unwrap();
    let ended = Report::Exited { pid: worker.pid, code: None, signal: Some(Signal::SIGTERM as i32) };
    assert_eq!(front.report(), ended);
    assert_eq!(front.hear(&worker), None, "the socket hangs up with the program");
    assert!(ask(second.private).starts_with(&asked));
    front.keeper.kill(next.pid).unwrap();
    let killed = Report::Exited { pid: next.pid, code: None, signal: Some(Signal::SIGKILL as i32) };
    assert_eq!(front.report(), killed);
    front.end();
}

#[test]
fn a_listener_for_all_addresses_is_private_too() {
    let dir = scratch();
    let program = compile(dir.path(), "server", SERVER, &[]);
    for host in ["0.0.0.0", "[::]"] {
        let asked = format!("{host}:{}", free_port());
        let front = Front::start(&[&asked]);
        let worker = front.fork(1, &program);
        let (listening, _) = front.ready(&worker);
        assert_eq!(listening.asked, asked);
        assert!(listening.private.ip().is_loopback(), "{listening:?}");
        assert_ne!(listening.private.ip(), Ipv4Addr::LOCALHOST, "a page in a browser could find it");
        assert!(ask(listening.private).starts_with(&asked));
        front.end();
    }
}

#[test]
fn any_free_port_stays_as_it_is() {
    let dir = scratch();
    let program = compile(dir.path(), "server", SERVER, &[]);
    let front = Front::start(&["127.0.0.1:0"]);
    let worker = front.fork(1, &program);
    let (listening, _) = front.ready(&worker);
    assert_eq!(listening.port, 0);
    assert!(ask(listening.private).starts_with(&listening.private.to_string()));
    front.end();
}

#[test]
fn a_further_listener_stays_and_two_generations_can_have_it() {
    let dir = scratch();
    let program = compile(dir.path(), "server", SERVER, &[]);
    let also = format!("127.0.0.1:{}", free_port());
    let front = Front::start(&[&format!("127.0.0.1:{}", free_port()), &also]);
    let mut workers = Vec::new();
    for generation in 1..=2 {
        let worker = front.fork(generation, &program);
        front.ready(&worker);
        assert_eq!(front.hear(&worker), Some(WorkerReport::Further { address: also.clone() }));
        TcpStream::connect(&also).unwrap();
        workers.push(worker);
    }
    front.end();
}

#[test]
fn a_static_program_is_found_where_it_listens() {
    let dir = scratch();
    let program = compile(dir.path(), "server", SERVER, &["-C", "target-feature=+crt-static"]);
    let asked = format!("127.0.0.1:{}", free_port());
    let front = Front::start(&[&asked]);
    let worker = front.fork(1, &program);
    let (listening, notes) = front.ready(&worker);
    assert_eq!((listening.asked.as_str(), listening.private), (asked.as_str(), asked.parse().unwrap()));
    assert!(listening.keeps_its_port());
    assert!(notes.iter().any(|note| note.contains("statically")), "{notes:?}");
    assert!(ask(listening.private).starts_with(&asked));
    front.end();
}

#[test]
fn a_program_gets_an_input_and_the_last_of_its_output_is_kept() {
    const GREETER: &str = r#"
        fn main() {
            let mut name = String::new();
            std::io::stdin().read_line(&mut name).unwrap();
            eprintln!("hello {}", name.trim());
            panic!("nothing to serve");
        }
    "#;
    let dir = scratch();
    let program = compile(dir.path(), "greeter", GREETER, &[]);
    let front = Front::start(&[]);
    let output = Output::create().unwrap();
    let (theirs, ours) = std::io::pipe().unwrap();
    let (_channel, worker) = seqpacket::pair().unwrap();
    let order = ForkOrder {
        libraries: Vec::new(),
        generation: 1,
        artifact: &program,
        start: AppStart::Plain { wanted_port: 0 },
        variables: Vec::new(),
        worker: &worker,
        output: &output,
        trail: &Trail::create(&[]).unwrap(),
        stdin: Some(theirs.as_fd()),
        earlier: None,
    };
    front.keeper.fork(order).unwrap();
    assert!(matches!(front.report(), Report::Forked { generation: 1, .. }));
    std::io::Write::write_all(&mut &ours, b"world\n").unwrap();
    assert!(matches!(front.report(), Report::Exited { code: Some(101), .. }));
    let last = output.last();
    assert!(last.starts_with("hello world\n"), "{last}");
    assert!(last.contains("greeter.rs:") && last.contains("nothing to serve"), "{last}");
    front.end();
}

#[test]
fn a_program_that_ends_at_once_is_reported() {
    let dir = scratch();
    let program = compile(dir.path(), "server", "fn main() { std::process::exit(7) }", &[]);
    let front = Front::start(&[]);
    let worker = front.fork(1, &program);
    assert_eq!(front.report(), Report::Exited { pid: worker.pid, code: Some(7), signal: None });
    front.end();
}

#[test]
fn a_file_that_is_no_program_fails_with_its_name() {
    let dir = scratch();
    let file = dir.path().join("text");
    std::fs::write(&file, "no program").unwrap();
    let front = Front::start(&[]);
    let (_channel, report) = front.begin(3, &file);
    let Report::ForkFailed { generation: 3, message } = &report else { panic!("{report:?}") };
    assert!(message.contains(file.to_str().unwrap()), "{message}");
    front.end();
}

#[test]
fn a_killed_keeper_or_front_leaves_no_program_and_no_child_of_one() {
    let dir = scratch();
    let source = r#"
        use std::io::Write;
        fn main() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
            loop {
                let (mut client, _) = listener.accept().unwrap();
                let _ = write!(client, "{}", child.id());
            }
        }
    "#;
    let program = compile(dir.path(), "parent", source, &[]);
    let front = Front::start(&[]);
    let worker = front.fork(1, &program);
    let (listening, _) = front.ready(&worker);
    let child: i32 = ask(listening.private).parse().unwrap();
    // The front's end of the socket closes, as when the front is killed.
    front.end();
    wait_gone(worker.pid);
    wait_gone(child);

    let front = Front::start(&[]);
    let worker = front.fork(1, &program);
    let (listening, _) = front.ready(&worker);
    let child: i32 = ask(listening.private).parse().unwrap();
    kill(Pid::from_raw(front.keeper.pid()), Signal::SIGKILL).unwrap();
    assert!(front.soon("the end of reports", front.keeper.report()).is_none());
    wait_gone(worker.pid);
    // The front kills the groups of a killed keeper's programs.
    let _ = nix::sys::signal::killpg(Pid::from_raw(worker.pid), Signal::SIGKILL);
    wait_gone(child);
    front.end();
}

/// A package with a library that defines a word, and a program.
fn small_shop(main: &str) -> tempfile::TempDir {
    let dir = scratch();
    std::fs::create_dir_all(dir.path().join("src")).unwrap();
    let manifest =
        "[package]\nname = \"small-shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.path().join("src/lib.rs"), "pub const WORD: &str = \"one\";").unwrap();
    std::fs::write(dir.path().join("src/main.rs"), main).unwrap();
    dir
}

#[test]
fn the_binary_of_a_package_is_built_under_a_name_of_its_own() {
    let _turn = cargo_turn();
    let dir = small_shop("fn main() { print!(\"{}\", small_shop::WORD) }");
    let main = dir.path().join("src/main.rs");
    let settings = Settings {
        strategy: Strategy::Restart,
        target_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("binaries")),
        ..Settings::default()
    };
    let target = devhost_build::app::find(None, dir.path(), &settings).unwrap();
    let devhost = PathBuf::from(env!("CARGO_BIN_EXE_devhost"));
    let mut builder = Builder::new(target, settings, &devhost).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut build = |changed: &[PathBuf]| {
        let mut progress = |_| {};
        let building = builder.build(changed, &mut progress);
        runtime.block_on(async { tokio::time::timeout(COLD_BUILD, building).await }).expect("the build ends")
    };
    let run = |program: &Path| String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap();

    let Outcome::Built(first) = build(&[]) else { panic!("it did not build") };
    assert_eq!((run(&first.path).as_str(), first.preload.len()), ("one", 0));
    assert_eq!(first.build_id, program::build_id(&first.path).unwrap());
    assert!(first.sources.contains(&main), "{:?}", first.sources);

    // An edit of the library alone makes a new program; the old one stays unchanged.
    let library = dir.path().join("src/lib.rs");
    std::fs::write(&library, "pub const WORD: &str = \"two\";").unwrap();
    let Outcome::Built(second) = build(&[library]) else { panic!("it did not build") };
    assert_eq!((run(&first.path).as_str(), run(&second.path).as_str()), ("one", "two"));
    assert_ne!(first.build_id, second.build_id);

    std::fs::write(&main, "fn main() { let word: u32 = small_shop::WORD; }").unwrap();
    let Outcome::Failed(devhost_model::Failure::Build { diagnostics, .. }) = build(&[main]) else {
        panic!("it built")
    };
    assert!(diagnostics.iter().any(|d| d.code.as_deref() == Some("E0308")), "{diagnostics:?}");
}

const HTTP_MAIN: &str = r#"
use std::io::{Read, Write};

fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let listener = std::net::TcpListener::bind(address).unwrap();
    for client in listener.incoming() {
        let mut client = client.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match client.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => break,
            }
        }
        let word = small_shop::WORD;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", word.len());
        let _ = write!(client, "{head}{word}");
    }
}
"#;

#[test]
fn an_app_that_runs_as_its_own_program_reloads_and_keeps_the_last_good_one() {
    let _turn = cargo_turn();
    let dir = small_shop(HTTP_MAIN);
    let library = dir.path().join("src/lib.rs");
    // Its own, because the app's port is remembered there.
    let target = dir.path().join("target/devhost");
    let port = free_port().to_string();
    let asked = format!("127.0.0.1:{port}");
    let target = target.to_str().unwrap();
    let args = ["run", "--strategy", "restart", "--target-dir", target, "--", &asked];
    let devhost = Devhost::start_with(dir.path(), &args, |command| {
        // So that no guess comes first.
        command.env("PORT", &port);
    });
    let status = devhost.wait_ready(1);
    assert_eq!(status["kind"], "plain");
    // The front has the app's port.
    assert_eq!(devhost.port.to_string(), port);
    assert_eq!(devhost.get("/").body, "one");

    std::fs::write(&library, "pub const WORD: &str = \"two\";").unwrap();
    devhost.wait_ready(2);
    assert_eq!(devhost.get("/").body, "two");

    std::fs::write(&library, "pub const WORD: &str = 2;").unwrap();
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    assert_eq!(devhost.get("/").body, "two");
    devhost.kill_9();
}

#[test]
fn an_app_without_a_rust_main_runs_as_its_own_program_by_itself() {
    let _turn = cargo_turn();
    let main = HTTP_MAIN.replace(
        "fn main() {",
        "#[unsafe(no_mangle)]\nextern \"C\" fn main(_: i32, _: *const *const u8) -> i32 {",
    );
    let main = format!("#![no_main]\n{} 0 }}", main.trim_end().trim_end_matches('}'));
    let dir = small_shop(&main);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binaries");
    let asked = format!("127.0.0.1:{}", free_port());
    let args = ["run", "--port", "0", "--target-dir", target.to_str().unwrap(), "--", &asked];
    let devhost = Devhost::start(dir.path(), &args);
    let note = devhost.wait_line("--strategy restart");
    assert!(note.contains("no_main"), "{note}");
    devhost.wait_ready(1);
    assert_eq!(devhost.get("/").body, "one");
    assert!(devhost.stop().success());
}

#[test]
fn a_library_cannot_be_started_as_a_program() {
    let dir = scratch();
    std::fs::write(dir.path().join("libx.so"), "").unwrap();
    let output = run_to_end(dir.path(), &["run", "libx.so", "--strategy", "restart"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("libx.so") && message.contains("--strategy"), "{message}");
}
