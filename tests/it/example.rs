//! The example app as a plugin app: real cargo, real edits, every kind of traffic.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{COLD_BUILD, Devhost, ExampleApp, SOON, answer, cargo_turn, client};

const HEADING: &str = "The guest book";

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

#[test]
fn every_kind_of_traffic_reaches_the_app() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();

    // A page with the live-reload script, a storing form, and JSON that shows it.
    let page = devhost.get_page("/");
    assert_eq!((page.status, page.generation()), (200, 1));
    assert!(page.body.contains(HEADING) && page.body.contains("/__devhost/client.js"), "{}", page.body);
    let signed =
        devhost.post("/entries", "application/x-www-form-urlencoded", b"name=Ada&message=hello+%3Cb%3E");
    assert_eq!(signed.status, 303, "{}", signed.body);
    let json = devhost.get("/api/entries");
    assert!(json.body.contains("Ada") && json.header("content-type") == Some("application/json"));
    assert!(!json.body.contains("client.js"));
    // A static file is served unchanged, and a browser must revalidate it.
    let style = devhost.get("/static/style.css");
    assert_eq!(
        (style.body.as_str(), style.header("cache-control")),
        (app.read("static/style.css").as_str(), Some("no-cache"))
    );
    let copied = style.header("last-modified").expect("the app says how old it is");
    let request =
        devhost.client.get(format!("{}/static/style.css", devhost.url)).header("if-modified-since", copied);
    let unchanged = answer(request.call());
    assert_eq!((unchanged.status, unchanged.header("cache-control")), (304, Some("no-cache")));

    // An upload larger than every buffer.
    let upload = devhost.post("/upload", "application/octet-stream", &vec![7; 20_000_000]);
    assert_eq!(upload.status, 200, "{}", upload.body);
    assert!(upload.body.contains("20000000"), "{}", upload.body);

    follow_the_feed(&devhost);
    chat(&devhost);
    a_cancelled_request_frees_its_place(&devhost);
    a_panic_is_a_page_and_the_worker_lives(&devhost);
    assert!(devhost.stop().success());
}

fn follow_the_feed(devhost: &Devhost) {
    let feed = devhost.connect(b"GET /feed HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    let mut lines = BufReader::new(feed).lines().map(Result::unwrap);
    lines.find(|line| line.contains("following the book")).expect("the feed begins");
    devhost.post("/entries", "application/x-www-form-urlencoded", b"name=Feed&message=pushed");
    lines.find(|line| line.contains("pushed")).expect("the entry was pushed");
}

/// A binary message comes back unchanged.
async fn demand_echo(socket: &mut Socket, binary: Vec<u8>) {
    socket.send(Message::binary(binary.clone())).await.unwrap();
    loop {
        let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
        if message.is_binary() {
            assert!(message.into_data() == binary, "the echo differs");
            break;
        }
    }
}

fn chat(devhost: &Devhost) {
    let url = format!("ws://127.0.0.1:{}/ws", devhost.port);
    runtime().block_on(async {
        let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
        assert_eq!(response.status(), 101);
        socket.send(Message::text("hello from a test")).await.unwrap();
        loop {
            let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
            if message.to_text().unwrap_or_default().contains("hello from a test") {
                break;
            }
        }
        demand_echo(&mut socket, vec![9; 100_000]).await;
        socket.close(None).await.unwrap();
    });
}

fn a_cancelled_request_frees_its_place(devhost: &Devhost) {
    // More than the link's streams: passes only if each leaving client frees its stream.
    for _ in 0..300 {
        drop(devhost.connect(b"GET /slow?ms=120000 HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    }
    assert_eq!(devhost.get("/api/version").status, 200);
}

fn a_panic_is_a_page_and_the_worker_lives(devhost: &Devhost) {
    let worker = devhost.worker_pid();
    let page = devhost.get_page("/panic");
    assert_eq!(page.status, 500);
    for part in ["fell off the table", "src/trouble.rs:", "panic_on_purpose"] {
        assert!(page.body.contains(part), "{part:?} is not in {}", page.body);
    }
    let (_, in_the_app) = page.body.split_once("<h2>In the app</h2>").expect("the page has the app's frames");
    let (in_the_app, _) = in_the_app.split_once("</section>").expect("a section ends");
    for foreign in ["devhost_plugin", "plugin_abi", "/registry/"] {
        assert!(!in_the_app.contains(foreign), "{foreign:?} is among the app's frames: {in_the_app}");
    }
    assert_eq!(devhost.get("/").status, 200);
    assert_eq!(devhost.worker_pid(), worker);
}

#[test]
fn an_edit_is_served_and_never_anything_older_after_it() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    let mut shown = HEADING.to_owned();
    for round in 1..=3 {
        let next = format!("Edition {round}");
        app.edit("src/pages.rs", &shown, &next);
        let status = devhost.wait_ready(1 + round);
        let page = devhost.get_page("/");
        assert!(page.body.contains(&next), "{}", page.body);
        assert_eq!(page.generation(), 1 + round);
        let reload = status["reloads"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(reload["files"][0], "example_app/src/pages.rs");
        let steps: f64 = ["notice_ms", "build_ms", "fork_ms", "load_ms", "ready_ms", "other_ms"]
            .iter()
            .map(|step| reload["steps"][step].as_f64().unwrap())
            .sum();
        let total = reload["total_ms"].as_f64().unwrap();
        assert!((steps - total).abs() <= 1.0, "{reload}");
        let crates = reload["build"]["crates"].as_array().unwrap();
        assert!(reload["build"]["replayed"] == true && crates.len() == 1, "{reload}");
        shown = next;
    }
    // Going back to older content is a change, even if the file gets its older time back.
    let before = std::fs::metadata(app.path("src/pages.rs")).unwrap().modified().unwrap();
    app.edit("src/pages.rs", &shown, HEADING);
    let file = std::fs::File::options().append(true).open(app.path("src/pages.rs")).unwrap();
    file.set_modified(before - Duration::from_secs(3600)).unwrap();
    devhost.wait_ready(5);
    assert!(devhost.get_page("/").body.contains(HEADING));
    // A save without changes does nothing.
    app.write("src/pages.rs", &app.read("src/pages.rs"));
    // A save during a build is not lost: of two in a row, the last one wins.
    app.edit("src/pages.rs", HEADING, "First of two");
    app.edit("src/pages.rs", "First of two", "Second of two");
    devhost.wait_status(SOON, "the last of two edits", |status| {
        status["state"] == "ready" && devhost.get_page("/").body.contains("Second of two")
    });
    assert!(devhost.stop().success());
}

#[test]
fn a_request_after_a_save_waits_for_the_new_code() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    app.edit("src/pages.rs", HEADING, "Held for this");
    devhost.wait_status(SOON, "building", |status| status["state"] == "building");
    let page = devhost.get_page("/");
    assert!(page.body.contains("Held for this"), "old code was served after the save: {}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_compile_error_keeps_the_last_good_code_and_goes_away() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    let mut events = listen(&devhost);
    app.edit("src/pages.rs", "const HEADING: &str = ", "const HEADING: u8 = ");
    let status = devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    assert_eq!(status["generation"], 1);
    let diagnostic = &status["failure"]["diagnostics"][0];
    assert_eq!(diagnostic["code"], "E0308");
    assert!(diagnostic["file"].as_str().unwrap().ends_with("src/pages.rs"), "{diagnostic}");
    let page = devhost.get_page("/");
    assert!(page.status == 200 && page.body.contains(HEADING), "the last good code serves on");
    assert!(devhost.printed().contains("mismatched types"), "{}", devhost.printed());
    events.find(|event| event.contains("\"failed\"")).expect("open pages are told");
    app.edit("src/pages.rs", "const HEADING: u8 = ", "const HEADING: &str = ");
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready" && status["failure"].is_null());
    events.find(|event| event.contains("\"recovered\"") || event.contains("\"reload\"")).expect("told again");
    assert!(devhost.stop().success());
}

#[test]
fn a_stylesheet_changes_pages_without_a_start_and_a_template_without_a_build() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]);
    let before = devhost.wait_ready(1);
    let mut events = listen(&devhost);
    // What nobody has asked for concerns nobody.
    assert_eq!((devhost.get_page("/").status, devhost.get("/static/style.css").status), (200, 200));
    app.edit("static/style.css", "--accent: #c2410c", "--accent: #0c41c2");
    let event = events.find(|event| event.contains("\"css\"")).unwrap();
    assert!(event.contains("style.css"), "{event}");
    let after = devhost.status();
    assert_eq!(after["workers"], before["workers"], "there was a fork");
    assert_eq!(after["reloads"].as_array().unwrap().len(), 1, "there was a build");
    app.edit("templates/book.html", "Sign the book", "Write in the book");
    events.find(|event| event.contains("\"reload\"")).unwrap();
    let page = devhost.get_page("/");
    assert!(page.body.contains("Write in the book"), "{}", page.body);
    // The app may read the template only once.
    assert_eq!(page.generation(), 2);
    let after = devhost.status();
    let reloads = after["reloads"].as_array().unwrap();
    assert_eq!(reloads.len(), 2, "{after:#}");
    assert_eq!(reloads[1]["steps"]["build_ms"], 0.0, "there was a build");
    assert!(devhost.stop().success());
}

#[test]
fn a_websocket_and_a_feed_of_the_old_code_are_closed_cleanly() {
    websockets_and_feeds_of_the_old_code_are_closed_cleanly(1, 1);
}

#[test]
fn websockets_and_feeds_in_several_workers_are_closed_cleanly() {
    websockets_and_feeds_of_the_old_code_are_closed_cleanly(3, 5);
}

fn websockets_and_feeds_of_the_old_code_are_closed_cleanly(workers: usize, clients: usize) {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&["--workers", &workers.to_string()]).ready();
    let feed = |_| {
        let feed = devhost.connect(b"GET /feed HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let mut feed = BufReader::new(feed);
        let mut begun = String::new();
        while !begun.contains("following the book") {
            assert_ne!(feed.read_line(&mut begun).unwrap(), 0, "{begun}");
        }
        feed
    };
    let feeds: Vec<_> = (0..clients).map(feed).collect();
    let url = format!("ws://127.0.0.1:{}/ws", devhost.port);
    runtime().block_on(async {
        let mut sockets = Vec::new();
        for number in 0..clients {
            let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
            demand_echo(&mut socket, vec![u8::try_from(number).unwrap(); 3_000]).await;
            sockets.push(socket);
        }
        app.edit("src/pages.rs", HEADING, "Closed for this");
        for mut socket in sockets {
            loop {
                match tokio::time::timeout(SOON, socket.next()).await.unwrap() {
                    Some(Ok(Message::Close(frame))) => {
                        assert_eq!(u16::from(frame.expect("a close frame with a code").code), 1012);
                        break;
                    }
                    Some(Ok(_)) => {}
                    other => panic!("the WebSocket was cut off: {other:?}"),
                }
            }
        }
    });
    for mut feed in feeds {
        let mut rest = Vec::new();
        feed.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "the feed was cut off: {}", String::from_utf8_lossy(&rest));
    }
    devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == workers);
    assert!(devhost.stop().success());
}

#[test]
fn a_request_in_flight_finishes_in_the_old_generation() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    let slow = devhost.connect(b"GET /slow?ms=4000 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut slow = BufReader::new(slow);
    let mut begun = String::new();
    while !begun.contains("1 of 10") {
        assert_ne!(slow.read_line(&mut begun).unwrap(), 0);
    }
    app.edit("src/pages.rs", HEADING, "While it flows");
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(begun.contains("x-devhost-generation: 1"), "{begun}");
    assert!(rest.contains("10 of 10") && rest.ends_with("0\r\n\r\n"), "{rest}");
    devhost.wait_ready(2);
    assert!(devhost.stop().success());
}

#[test]
fn a_request_right_after_a_save_gets_the_new_code() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    // One connection, so that only the request itself lies between the save and the answer.
    let client = client();
    let mut shown = HEADING.to_owned();
    for save in 1..=5 {
        let next = format!("At once {save}");
        app.edit("src/pages.rs", &shown, &next);
        let got = answer(client.get(format!("{}/", devhost.url)).call());
        assert!(got.body.contains(&next), "save {save} got generation {}", got.generation());
        shown = next;
    }
    assert!(devhost.stop().success());
}

#[test]
fn saves_under_load_lose_no_request_and_never_go_back() {
    saves_under_load(10);
}

/// The long form: `cargo test --test it -- --ignored a_hundred_saves`.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_saves_under_load_lose_no_request_and_never_go_back() {
    saves_under_load(100);
}

/// Saves one edit after the other while a client sends 20 requests a second, including POSTs.
fn saves_under_load(saves: u64) {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    let over = AtomicBool::new(false);
    let url = devhost.url.clone();
    std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let client = client();
            let (mut count, mut newest) = (0u64, 0u64);
            while !over.load(Ordering::Relaxed) {
                let next = Instant::now() + Duration::from_millis(50);
                let got = if count.is_multiple_of(4) {
                    let form = [("name", "Load"), ("message", "again")];
                    answer(client.post(format!("{url}/entries")).send_form(form))
                } else {
                    answer(client.get(format!("{url}/api/version")).call())
                };
                let generation = got.generation();
                assert!(matches!(got.status, 200 | 303), "request {count} got {}: {}", got.status, got.body);
                assert!(generation >= newest, "generation {generation} after {newest}");
                newest = generation;
                count += 1;
                // Sets the pace; waits for nothing.
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            count
        });
        let mut shown = HEADING.to_owned();
        for save in 1..=saves {
            let next = format!("Save {save}");
            app.edit("src/pages.rs", &shown, &next);
            devhost.wait_ready(1 + save);
            shown = next;
            if requests.is_finished() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        let count = requests.join().expect("no request failed");
        assert!(count > saves, "only {count} requests were sent");
    });
    assert!(devhost.get_page("/").body.contains(&format!("Save {saves}")));
    devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == 1);
    assert!(devhost.stop().success());
}

#[test]
fn killing_devhost_during_a_build_leaves_nothing() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    app.edit("src/pages.rs", HEADING, "Killed while building");
    devhost.wait_status(SOON, "building", |status| status["state"] == "building");
    devhost.kill_9();
}

#[test]
fn json_events_come_one_a_line() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_devhost"))
        .args(["run", "example_app", "--port", "0", "--message-format", "json", "--target-dir"])
        .arg(target)
        .current_dir(app.dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut events = Vec::new();
    let deadline = Instant::now() + COLD_BUILD;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        assert!(Instant::now() < deadline);
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).expect("each line is JSON");
        let kind = event["event"].as_str().unwrap().to_owned();
        if kind == "ready" {
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        events.push(kind);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(events.first().map(String::as_str), Some("listening"));
    assert!(events.iter().any(|event| event == "ready"), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("stopping"));
}

/// Returns the events sent to open pages.
fn listen(devhost: &Devhost) -> impl Iterator<Item = String> + use<> {
    let mut stream = devhost
        .connect(b"GET /__devhost/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    stream.flush().unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("an event came in time"));
    lines.find(|line| line.contains("\"hello\"")).expect("the first event is a hello");
    lines
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
