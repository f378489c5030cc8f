//! The app as its visitors meet it: requests in, responses out, each test with a database of its own.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;
use tower::ServiceExt;

/// Far longer than anything here takes: reached only where something never happens.
const WAIT_TIME_MAX: Duration = Duration::from_secs(30);

struct Visitor {
    app: Router,
    _data: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Visitor {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        Self { app: example_app::app_with_data(data.path()).expect("the app"), _data: data }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.expect("no error passes the router");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn post_form(&self, body: &'static str) -> Answer {
        self.post("/entries", "application/x-www-form-urlencoded", body).await
    }

    async fn post_entry(&self, entry: Value) -> Answer {
        self.post("/api/entries", "application/json", entry.to_string()).await
    }
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json", "{}", self.text);
        serde_json::from_str(&self.text).expect("JSON")
    }
}

#[tokio::test]
async fn signed_entry_is_shown_on_the_page() {
    let visitor = Visitor::new();
    let empty = visitor.get("/").await;
    assert_eq!(empty.status, StatusCode::OK);
    assert_eq!(empty.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(empty.text.contains("No entry yet"));

    let signed = visitor.post_form("name=Ada&message=Good+morning%0D%0Aeverybody").await;
    assert_eq!(signed.status, StatusCode::SEE_OTHER);
    assert_eq!(signed.headers[header::LOCATION], "/#entry-1");

    let page = visitor.get("/").await.text;
    assert!(page.contains("Good morning\neverybody"), "{page}");
    assert!(page.contains(r#"id="entry-1""#) && page.contains(r#"data-live-after="1""#));
}

#[tokio::test]
async fn refused_form_comes_back_filled_in_and_says_what_is_wrong() {
    let visitor = Visitor::new();
    let refused = visitor.post_form("name=+&message=half+a+%22thought%22").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Please leave a name."));
    assert!(refused.text.contains("half a &quot;thought&quot;</textarea>"));
    assert!(!refused.text.contains("Please write a few words."));
    assert_eq!(visitor.get("/api/entries").await.json()["total"], 0);
}

#[tokio::test]
async fn what_visitors_write_is_never_markup() {
    let visitor = Visitor::new();
    visitor.post_entry(json!({"name": "<img src=x>", "message": "\"'></p><script>alert(1)</script>"})).await;
    let page = visitor.get("/").await.text;
    assert!(!page.contains("<img src=x>") && !page.contains("<script>alert"));
    assert!(page.contains("&lt;img src=x&gt;") && page.contains("&lt;script&gt;alert(1)"));
    let missing = visitor.get("/%3Cscript%3E").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(!missing.text.contains("/<script>"));
}

#[tokio::test]
async fn long_book_has_pages() {
    let visitor = Visitor::new();
    for number in 1..=25 {
        visitor.post_entry(json!({"name": "Ada", "message": format!("Message {number}.")})).await;
    }
    let newest = visitor.get("/").await.text;
    assert!(
        newest.contains("Message 25.") && newest.contains("Message 6.") && !newest.contains("Message 5.")
    );
    assert!(newest.contains(r#"href="/?before=6""#));
    let older = visitor.get("/?before=6").await.text;
    assert!(older.contains("Message 5.") && older.contains("Message 1.") && !older.contains("Message 6."));
    assert!(!older.contains("Older entries") && !older.contains("data-live-after"));
}

#[tokio::test]
async fn api_adds_gets_and_lists_entries() {
    let visitor = Visitor::new();
    let added = visitor.post_entry(json!({"name": " Ada ", "message": "Hello"})).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let entry = added.json();
    assert_eq!(
        (&entry["id"], &entry["name"], &entry["message"]),
        (&json!(1), &json!("Ada"), &json!("Hello"))
    );
    assert!(entry["written_at"].as_str().is_some_and(|time| time.len() == 20 && time.ends_with('Z')));

    let place = added.headers[header::LOCATION].to_str().expect("a path");
    assert_eq!(visitor.get(place).await.json(), entry);

    visitor.post_entry(json!({"name": "Bob", "message": "Hi"})).await;
    let list = visitor.get("/api/entries?limit=1").await.json();
    assert_eq!((&list["total"], &list["entries"][0]["name"]), (&json!(2), &json!("Bob")));
    let older = visitor.get("/api/entries?before=2").await.json();
    assert_eq!(older["entries"], json!([entry]));
}

#[tokio::test]
async fn api_refuses_in_json() {
    let visitor = Visitor::new();
    let refused = visitor.post_entry(json!({"name": "x".repeat(61)})).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = &refused.json()["fields"];
    assert!(fields["name"].is_string() && fields["message"].is_string());

    let cases = [
        (visitor.post("/api/entries", "application/json", "{").await, StatusCode::BAD_REQUEST),
        (visitor.post("/api/entries", "text/plain", "{}").await, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (visitor.post_entry(json!({"name": 7})).await, StatusCode::UNPROCESSABLE_ENTITY),
        (visitor.get("/api/entries?limit=0").await, StatusCode::BAD_REQUEST),
        (visitor.get("/api/entries?limit=many").await, StatusCode::BAD_REQUEST),
        (visitor.get("/api/entries/99").await, StatusCode::NOT_FOUND),
        (visitor.get("/api/entries/first").await, StatusCode::BAD_REQUEST),
        (visitor.get("/api/nothing").await, StatusCode::NOT_FOUND),
    ];
    for (answer, status) in cases {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(visitor.get("/api/entries").await.json()["total"], 0);
}

#[tokio::test]
async fn static_files_are_served() {
    let visitor = Visitor::new();
    let style = visitor.get("/static/style.css").await;
    assert_eq!(style.status, StatusCode::OK);
    assert_eq!(style.headers[header::CONTENT_TYPE], "text/css");
    // devhost adds what an edit needs.
    assert!(!style.headers.contains_key(header::CACHE_CONTROL));
    assert!(style.text.contains("--accent:"));
    for (path, content_type) in
        [("/static/book.js", "text/javascript"), ("/static/logo.svg", "image/svg+xml")]
    {
        assert_eq!(visitor.get(path).await.headers[header::CONTENT_TYPE], content_type);
    }
    assert_eq!(visitor.get("/static/../Cargo.toml").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.get("/static/%2e%2e/Cargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn upload_of_a_bare_body_is_counted_chunk_by_chunk() {
    let visitor = Visitor::new();
    // More than axum's default limit, in chunks that come to no round number.
    let chunks = stream::iter((0..400).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'a'; 9_999]))));
    let request = Request::put("/upload").body(Body::from_stream(chunks)).expect("a request");
    let receipt = visitor.send(request).await.json();
    assert_eq!(receipt["bytes"], 400 * 9_999);
    assert_eq!(receipt["files"][0]["name"], Value::Null);
    assert_eq!(receipt["files"][0]["crc32"], format!("{:08x}", crc32fast::hash(&vec![b'a'; 400 * 9_999])));
}

#[tokio::test]
async fn upload_form_gives_a_receipt_for_each_file() {
    let visitor = Visitor::new();
    let form = "--edge\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nno file\r\n\
                --edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n123456789\r\n\
                --edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"b.txt\"\r\n\r\n\r\n\
                --edge--\r\n";
    let receipt = visitor.post("/upload", "multipart/form-data; boundary=edge", form).await.json();
    // The check value of CRC-32 is the one of these nine digits.
    let files = json!([
        {"name": "a.txt", "bytes": 9, "crc32": "cbf43926"},
        {"name": "b.txt", "bytes": 0, "crc32": "00000000"},
    ]);
    assert_eq!(receipt, json!({"bytes": 9, "files": files}));

    let empty = visitor.post("/upload", "multipart/form-data; boundary=edge", "--edge--\r\n").await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(empty.json()["error"].is_string());
    let torn = visitor.post("/upload", "multipart/form-data; boundary=edge", &form[..180]).await;
    assert_eq!(torn.status, StatusCode::BAD_REQUEST, "{}", torn.text);
}

#[tokio::test]
async fn broken_upload_is_refused() {
    let visitor = Visitor::new();
    let chunks =
        stream::iter([Ok(Bytes::from_static(b"some")), Err(std::io::Error::other("the line went dead"))]);
    let request = Request::post("/upload").body(Body::from_stream(chunks)).expect("a request");
    assert_eq!(visitor.send(request).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn feed_gives_what_was_missed_and_then_what_is_new() {
    let visitor = Visitor::new();
    for name in ["one", "two", "three"] {
        visitor.post_entry(json!({"name": name, "message": "hello"})).await;
    }
    let mut from_header = follow(&visitor, Request::get("/feed?after=0").header("last-event-id", "2")).await;
    let mut from_query = follow(&visitor, Request::get("/feed?after=1")).await;
    let mut from_now = follow(&visitor, Request::get("/feed")).await;
    visitor.post_form("name=four&message=hello").await;

    assert_eq!(from_header.next_names(2).await, ["three", "four"]);
    assert_eq!(from_query.next_names(3).await, ["two", "three", "four"]);
    assert_eq!(from_now.next_names(1).await, ["four"]);
}

struct Feed {
    body: Body,
    text: String,
}

async fn follow(visitor: &Visitor, request: axum::http::request::Builder) -> Feed {
    let request = request.body(Body::empty()).expect("a request");
    let response = visitor.app.clone().oneshot(request).await.expect("no error passes the router");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    Feed { body: response.into_body(), text: String::new() }
}

impl Feed {
    async fn next_names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    let entry: Value = serde_json::from_str(data).expect("JSON");
                    assert!(
                        event.contains("event: entry") && event.contains(&format!("id: {}", entry["id"]))
                    );
                    names.push(entry["name"].as_str().expect("a name").to_owned());
                }
                let rest = rest.to_owned();
                self.text = rest;
            }
            if names.len() < count {
                let frame =
                    tokio::time::timeout(WAIT_TIME_MAX, self.body.frame()).await.expect("an event in time");
                let data = frame.expect("no end").expect("no error").into_data().expect("data");
                self.text.push_str(std::str::from_utf8(&data).expect("text"));
            }
        }
        names
    }
}

#[tokio::test]
async fn chat_reaches_everybody_and_echoes_bytes_to_their_sender() {
    let visitor = Visitor::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("ws://{}/ws", listener.local_addr().expect("an address"));
    let server = tokio::spawn(axum::serve(listener, visitor.app.clone()).into_future());
    let (mut ada, _) = tokio_tungstenite::connect_async(&address).await.expect("a connection");
    assert_eq!(next_notice(&mut ada, "welcome").await["you"], "Guest 1");
    let (mut bob, _) = tokio_tungstenite::connect_async(&address).await.expect("a connection");
    assert_eq!(next_notice(&mut bob, "welcome").await["you"], "Guest 2");
    assert_eq!(next_notice(&mut bob, "presence").await["online"], 2);

    ada.send(Message::text("  hello ")).await.expect("a line sent");
    let said = json!({"kind": "said", "from": "Guest 1", "text": "hello"});
    assert_eq!(next_notice(&mut bob, "said").await, said);
    assert_eq!(next_notice(&mut ada, "said").await, said);

    bob.send(Message::text(" ")).await.expect("a line sent");
    assert!(next_notice(&mut bob, "refused").await["reason"].is_string());

    bob.send(Message::binary(vec![0, 159, 255])).await.expect("bytes sent");
    assert_eq!(next_message(&mut bob).await, Message::binary(vec![0, 159, 255]));

    bob.close(None).await.expect("a close sent");
    drop(bob);
    while next_notice(&mut ada, "presence").await["online"] != 1 {}
    server.abort();
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn next_message(socket: &mut Socket) -> Message {
    let message = tokio::time::timeout(WAIT_TIME_MAX, socket.next()).await.expect("a message in time");
    message.expect("no end").expect("no error")
}

async fn next_notice(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let text = next_message(socket).await.into_text().expect("text");
        let notice: Value = serde_json::from_str(&text).expect("JSON");
        if notice["kind"] == kind {
            return notice;
        }
    }
}

#[tokio::test]
async fn slow_answer_comes_in_steps() {
    let visitor = Visitor::new();
    let answer = visitor.get("/slow?ms=20").await;
    assert_eq!(answer.text.lines().count(), 10);
    assert!(answer.text.ends_with("10 of 10\n"));
    assert_eq!(visitor.get("/slow?ms=999999999").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn panicking_handler_panics() {
    let visitor = Visitor::new();
    let request = Request::get("/panic").body(Body::empty()).expect("a request");
    let outcome = tokio::spawn(visitor.app.clone().oneshot(request)).await;
    assert!(outcome.is_err_and(|error| error.is_panic()));
}

#[tokio::test]
async fn version_names_the_process() {
    let version = Visitor::new().get("/api/version").await.json();
    assert_eq!((&version["name"], &version["pid"]), (&json!("example_app"), &json!(std::process::id())));
}

#[test]
fn data_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("taken");
    std::fs::write(&file, "").expect("a file");
    let error = example_app::app_with_data(&file.join("data")).expect_err("no folder inside a file");
    assert!(error.to_string().contains("taken"), "{error}");
}
