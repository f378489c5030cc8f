//! The apps that are edited: written into a directory for each way, so that no way profits from another's build. An
//! edit replaces one string in one file, by a text that was never there before and that the app's response shows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

/// What the string is before the first edit.
pub(crate) const ORIGINAL: &str = "as it was written";

/// How many modules the generated app has beside its root.
const MODULES_COUNT: usize = 40;

/// Where in an app an edit is made.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// Its name in the table.
    pub name: &'static str,
    /// The file, relative to the app's directory.
    pub file: PathBuf,
    /// The file up to the string.
    before: String,
    /// The file from the string's end.
    after: String,
}

impl Edit {
    /// Splits a file's text at the string that is edited.
    fn new(name: &'static str, file: &str, text: &str, string: &str) -> Result<Self> {
        let (before, after) =
            text.split_once(string).with_context(|| format!("{file} does not contain {string:?}"))?;
        Ok(Self { name, file: file.into(), before: before.into(), after: after.into() })
    }

    /// The whole file with another string.
    fn text(&self, string: &str) -> String {
        format!("{}{string}{}", self.before, self.after)
    }

    /// Saves the file as most editors do, by a rename, and says when. Nothing that is timed comes before that moment.
    pub(crate) fn save(&self, directory: &Path, string: &str) -> Result<Instant> {
        let path = directory.join(&self.file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.tmp~"));
        fs::write(&temporary, self.text(string))?;
        let saved = Instant::now();
        fs::rename(&temporary, &path)?;
        Ok(saved)
    }

    /// The string that is in a file now, where it is this edit's file or one that begins with the same text.
    pub(crate) fn current<'a>(&self, text: &'a str) -> Option<&'a str> {
        let begin = text.find(&self.before)? + self.before.len();
        let first_line = self.after.lines().next()?;
        let len = text[begin..].find(first_line)?;
        Some(&text[begin..begin + len])
    }
}

/// An app.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its name in the table.
    pub name: &'static str,
    /// The package that is built and served.
    pub package: &'static str,
    /// The variable for a directory of its own data, if it has some.
    pub data_variable: Option<&'static str>,
    /// Where edits are made.
    pub edits: Vec<Edit>,
    files: Vec<(PathBuf, String)>,
}

impl App {
    /// The app of this name on the command line.
    pub(crate) fn named(name: &str) -> Result<Self> {
        match name {
            "generated" => generated(),
            "example" => example(),
            "workspace" => workspace(),
            _ => anyhow::bail!("there is no app `{name}`: generated, example, workspace"),
        }
    }

    /// The app changed so that dx can patch it; `None` where it has no such `main`.
    pub(crate) fn for_dx(&self) -> Option<Self> {
        let mut app = self.clone();
        let (main, _) = app.files.iter().find(|(_, text)| text.contains(MAIN))?.clone();
        let manifest = main.parent()?.parent()?.join("Cargo.toml");
        for (file, text) in &mut app.files {
            *text = text.replace(MAIN, MAIN_FOR_DX);
            if *file == manifest {
                // Its last section is the dependencies'.
                text.push_str("dioxus-devtools = { version = \"0.7\", features = [\"serve\"] }\n");
            }
        }
        for edit in &mut app.edits {
            edit.before = edit.before.replace(MAIN, MAIN_FOR_DX);
            edit.after = edit.after.replace(MAIN, MAIN_FOR_DX);
        }
        Some(app)
    }

    /// Writes the app into a directory. A file that is right is left alone, whatever its edited string says: cargo
    /// believes times.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        for (file, text) in &self.files {
            let path = directory.join(file);
            let edits: Vec<&Edit> = self.edits.iter().filter(|edit| edit.file == *file).collect();
            let same = fs::read_to_string(&path).is_ok_and(|there| {
                there == *text
                    || edits
                        .iter()
                        .any(|edit| there.starts_with(&edit.before) && there.ends_with(&edit.after))
            });
            if !same {
                fs::create_dir_all(path.parent().unwrap_or(directory))?;
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// How the generated apps begin to run, and how they do under dx, which runs the function anew for each patch.
const MAIN: &str = "#[tokio::main]\nasync fn main()";
const MAIN_FOR_DX: &str = "#[tokio::main]\nasync fn main() {\n    dioxus_devtools::serve_subsecond(serve).await;\n}\n\n\
                           async fn serve()";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The project's guest book, a plugin app, in a workspace of its own.
fn example() -> Result<App> {
    let source = repository().join("example_app");
    let mut files = Vec::new();
    for folder in ["src", "static", "templates"] {
        for entry in fs::read_dir(source.join(folder))? {
            let entry = entry?;
            let file = Path::new("example_app").join(folder).join(entry.file_name());
            files.push((file, fs::read_to_string(entry.path())?));
        }
    }
    let manifest = fs::read_to_string(source.join("Cargo.toml"))?;
    let plugin_abi = repository().join("plugin_abi");
    let manifest = manifest.replace("../plugin_abi", &plugin_abi.to_string_lossy());
    files.push(("example_app/Cargo.toml".into(), manifest));
    let root = fs::read_to_string(repository().join("Cargo.toml"))?;
    let package = root.split("[workspace.package]").nth(1).and_then(|text| text.split("\n[").next());
    let package = package.context("the project's manifest has no [workspace.package]")?;
    let workspace = format!(
        "[workspace]\nmembers = [\"example_app\"]\nresolver = \"3\"\n\n[workspace.package]{package}\n\
         [workspace.lints.rust]\nunsafe_code = \"warn\"\n"
    );
    files.push(("Cargo.toml".into(), workspace));
    files.push(("Cargo.lock".into(), fs::read_to_string(repository().join("Cargo.lock"))?));
    let pages = files.iter().find(|(file, _)| file.ends_with("src/pages.rs"));
    let (_, pages) = pages.context("the example app has no src/pages.rs")?;
    let edits = vec![Edit::new("module", "example_app/src/pages.rs", pages, "The guest book")?];
    Ok(App { name: "example", package: "example_app", data_variable: Some("EXAMPLE_APP_DATA"), edits, files })
}

/// The manifest of the generated app: what a web app of some size depends on.
const GENERATED_MANIFEST: &str = r#"[package]
name = "generated"
version = "0.1.0"
edition = "2024"

[workspace]

[dependencies]
anyhow = "1"
axum = { version = "0.8", features = ["macros", "multipart", "ws"] }
axum-extra = { version = "0.10", features = ["cookie", "typed-header"] }
base64 = "0.22"
chrono = { version = "0.4", features = ["serde"] }
clap = { version = "4", features = ["derive", "env"] }
dashmap = "6"
futures = "0.3"
indexmap = { version = "2", features = ["serde"] }
itertools = "0.14"
jsonwebtoken = { version = "9", default-features = false }
minijinja = "2"
rand = "0.9"
regex = "1"
reqwest = { version = "0.12", default-features = false, features = ["json", "cookies", "stream"] }
serde = { version = "1", features = ["derive"] }
serde_json = "1"
serde_with = "3"
sha2 = "0.10"
thiserror = "2"
tokio = { version = "1", features = ["full"] }
tokio-util = { version = "0.7", features = ["full"] }
tower = { version = "0.5", features = ["full"] }
tower-http = { version = "0.6", features = ["compression-gzip", "cors", "fs", "limit", "request-id", "timeout", "trace"] }
tracing = "0.1"
tracing-subscriber = { version = "0.3", features = ["env-filter", "json"] }
url = { version = "2", features = ["serde"] }
uuid = { version = "1", features = ["serde", "v4"] }
validator = { version = "0.20", features = ["derive"] }
"#;

/// One of the generated app's modules; `@@` is its number.
const GENERATED_MODULE: &str = r#"//! Part @@ of the generated app: its records, and the handlers that list and add them.

use axum::{Json, Router, extract::Query, routing::get};
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

pub const NOTE: &str = "part @@ as it was written";

static RECORDS: RwLock<Vec<Record@@>> = RwLock::const_new(Vec::new());

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record@@ {
    pub id: uuid::Uuid,
    pub made_at: chrono::DateTime<chrono::Utc>,
    pub draft: Draft@@,
}

#[derive(Debug, Clone, Serialize, Deserialize, validator::Validate)]
pub struct Draft@@ {
    #[validate(length(min = 1, max = 80))]
    pub name: String,
    pub amount: u32,
}

async fn list(Query(filter): Query<crate::Filter>) -> Json<Vec<Record@@>> {
    let records = RECORDS.read().await;
    Json(records.iter().filter(|record| record.draft.amount >= filter.least).cloned().collect())
}

async fn add(Json(draft): Json<Draft@@>) -> Result<Json<Record@@>, crate::Refusal> {
    validator::Validate::validate(&draft)?;
    let record = Record@@ { id: uuid::Uuid::new_v4(), made_at: chrono::Utc::now(), draft };
    RECORDS.write().await.push(record.clone());
    tracing::info!(part = NOTE, id = %record.id, "added");
    Ok(Json(record))
}

pub fn routes() -> Router {
    Router::new().route("/part@@", get(list).post(add))
}
"#;

/// The root of the generated app before its list of modules.
const GENERATED_ROOT: &str = r#"//! A generated app of many modules.

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

const TITLE: &str = "root as it was written";

#[derive(Debug, Deserialize)]
pub struct Filter {
    #[serde(default)]
    pub least: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the draft is not valid: {0}")]
    Invalid(#[from] validator::ValidationErrors),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, self.to_string()).into_response()
    }
}

#[derive(Debug, Serialize)]
struct Index {
    title: &'static str,
    notes: Vec<&'static str>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Under dx this runs once for each patch.
    let _ = tracing_subscriber::fmt().with_env_filter("warn").try_init();
    let port = std::env::var("PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    axum::serve(listener, app()).await?;
    Ok(())
}
"#;

/// About 280 crates, 40 modules: an unmodified axum app.
fn generated() -> Result<App> {
    let mut files = vec![(PathBuf::from("Cargo.toml"), GENERATED_MANIFEST.to_owned())];
    let numbers = || (1..=MODULES_COUNT).map(|number| format!("{number:02}"));
    let mut root = GENERATED_ROOT.to_owned();
    root.push_str("\nasync fn index() -> Json<Index> {\n    let notes = vec![\n");
    for number in numbers() {
        let _ = writeln!(root, "        part{number}::NOTE,");
    }
    root.push_str("    ];\n    Json(Index { title: TITLE, notes })\n}\n\nfn app() -> Router {\n");
    root.push_str("    let app = Router::new().route(\"/\", get(index));\n");
    for number in numbers() {
        let _ = writeln!(root, "    let app = app.merge(part{number}::routes());");
    }
    root.push_str("    app.layer(tower_http::trace::TraceLayer::new_for_http())\n}\n\n");
    for number in numbers() {
        let _ = writeln!(root, "mod part{number};");
        let text = GENERATED_MODULE.replace("@@", &number);
        files.push((format!("src/part{number}.rs").into(), text));
    }
    let (_, module) = files.iter().find(|(file, _)| file.ends_with("part20.rs")).context("no part 20")?;
    let edits = vec![
        Edit::new("root", "src/main.rs", &root, &format!("root {ORIGINAL}"))?,
        Edit::new("module", "src/part20.rs", module, &format!("part 20 {ORIGINAL}"))?,
    ];
    files.push(("src/main.rs".into(), root));
    Ok(App { name: "generated", package: "generated", data_variable: None, edits, files })
}

/// A library of the workspace; `NAME` is its own name, `BELOW` those of the crates it uses.
const LIBRARY: &str = r#"//! `NAME`: a library of the workspace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub const TEXT: &str = "NAME as it was written";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub key: String,
    pub weight: f64,
    pub labels: Vec<String>,
    pub more: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Shelf {
    items: BTreeMap<String, Item>,
}

impl Shelf {
    pub fn put(&mut self, item: Item) -> Option<Item> {
        self.items.insert(item.key.clone(), item)
    }

    pub fn select<'a, F: Fn(&Item) -> bool + 'a>(&'a self, wanted: F) -> impl Iterator<Item = &'a Item> {
        self.items.values().filter(move |item| wanted(item))
    }

    pub fn by_label(&self) -> BTreeMap<&str, Vec<&Item>> {
        let mut found: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
        for item in self.items.values() {
            for label in &item.labels {
                found.entry(label).or_default().push(item);
            }
        }
        found
    }

    pub fn write(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

pub fn describe() -> Vec<&'static str> {
    let mut texts = vec![TEXT];
    // What is below tells its texts too.
BELOW    texts.sort_unstable();
    texts.dedup();
    texts
}
"#;

/// The app on top of the workspace.
const WORKSPACE_MAIN: &str = r#"//! The app on top of the workspace.

use std::net::Ipv4Addr;

use axum::routing::get;
use axum::{Json, Router};

const TITLE: &str = "root as it was written";

async fn index() -> Json<Vec<&'static str>> {
    let mut texts = web::describe();
    texts.push(TITLE);
    Json(texts)
}

async fn shelf(body: String) -> Result<String, String> {
    let shelf = web::Shelf::read(&body).map_err(|error| error.to_string())?;
    let heavy: Vec<_> = shelf.select(|item| item.weight > 1.0).collect();
    serde_json::to_string(&heavy).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let app = Router::new().route("/", get(index)).route("/shelf", get(shelf));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
"#;

/// Each library of the workspace, and what it uses: a diamond, and a chain on top of it.
const LIBRARIES: [(&str, &[&str]); 5] = [
    ("leaf", &[]),
    ("left", &["leaf"]),
    ("right", &["leaf"]),
    ("middle", &["left", "right"]),
    ("web", &["middle"]),
];

/// Five path crates below a small axum app.
fn workspace() -> Result<App> {
    let package = |name: &str, dependencies: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}"
        )
    };
    let serde = "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\n";
    let mut files = vec![(
        PathBuf::from("Cargo.toml"),
        "[workspace]\nmembers = [\"app\", \"crates/*\"]\nresolver = \"3\"\n".to_owned(),
    )];
    let mut edits = Vec::new();
    for (name, below) in LIBRARIES {
        let mut dependencies = serde.to_owned();
        let mut calls = String::new();
        for used in below {
            let _ = writeln!(dependencies, "{used} = {{ path = \"../{used}\" }}");
            let _ = writeln!(calls, "    texts.extend({used}::describe());");
        }
        let text = LIBRARY.replace("NAME", name).replace("BELOW", &calls);
        let file = format!("crates/{name}/src/lib.rs");
        if ["leaf", "middle"].contains(&name) {
            edits.push(Edit::new(name, &file, &text, &format!("{name} {ORIGINAL}"))?);
        }
        files.push((format!("crates/{name}/Cargo.toml").into(), package(name, &dependencies)));
        files.push((file.into(), text));
    }
    let dependencies = "axum = \"0.8\"\nserde_json = \"1\"\ntokio = { version = \"1\", features = [\"macros\", \"net\", \
                        \"rt-multi-thread\"] }\nweb = { path = \"../crates/web\" }\n";
    files.push(("app/Cargo.toml".into(), package("app", dependencies)));
    edits.push(Edit::new("root", "app/src/main.rs", WORKSPACE_MAIN, &format!("root {ORIGINAL}"))?);
    files.push(("app/src/main.rs".into(), WORKSPACE_MAIN.to_owned()));
    ensure!(edits.len() == 3, "the workspace has an edit at the leaf, in the middle and at the root");
    Ok(App { name: "workspace", package: "app", data_variable: None, edits, files })
}
