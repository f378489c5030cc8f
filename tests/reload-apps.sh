#!/usr/bin/env bash
# Writes the two apps that docs/reload.md measures beside the example app, into DIR/generated and DIR/workspace.
#
#     tests/reload-apps.sh [--dx] DIR
#
# generated: an unmodified axum app of 40 modules, with about 280 packages in its lock file. With --dx, its `main` is what
#            `dx serve --hotpatch` needs.
# workspace: five path crates (leaf; left and right on it; middle on these; web) below a small axum app.
set -euo pipefail

dx=
if [[ ${1-} == --dx ]]; then
    dx=yes
    shift
fi
if [[ $# != 1 || $1 == -* ]]; then
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
fi
mkdir -p "$1/generated/src" "$1/workspace"
cd "$1"

cat >generated/Cargo.toml <<'EOF'
[package]
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
EOF
if [[ $dx ]]; then
    echo 'dioxus-devtools = { version = "0.7", features = ["serve"] }' >>generated/Cargo.toml
fi

module() {
    sed "s/@@/$1/g" <<'EOF'
//! Part @@ of the generated app: its records, and the handlers that list and add them.

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
EOF
}

root() {
    cat <<'EOF'
//! A generated app of many modules.

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
EOF
    printf '\nasync fn index() -> Json<Index> {\n    let notes = vec![\n'
    printf '        part%s::NOTE,\n' "$@"
    printf '    ];\n    Json(Index { title: TITLE, notes })\n}\n\nfn app() -> Router {\n'
    printf '    let app = Router::new().route("/", get(index));\n'
    printf '    let app = app.merge(part%s::routes());\n' "$@"
    printf '    app.layer(tower_http::trace::TraceLayer::new_for_http())\n}\n\n'
    printf 'mod part%s;\n' "$@"
}

mapfile -t numbers < <(seq -w 1 40)
for number in "${numbers[@]}"; do
    module "$number" >"generated/src/part$number.rs"
done
root "${numbers[@]}" >generated/src/main.rs
if [[ $dx ]]; then
    # dx runs this function anew for each patch.
    sed -i 's/^async fn main() -> .*/async fn main() {\n    dioxus_devtools::serve_subsecond(serve).await;\n}\n\nasync fn serve() -> anyhow::Result<()> {/' \
        generated/src/main.rs
fi

# package NAME DEPENDENCIES
package() {
    printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\n%s\n' "$1" "$2"
}

# library NAME USED...
library() {
    local name=$1 used dependencies calls=
    shift
    dependencies=$'serde = { version = "1", features = ["derive"] }\nserde_json = "1"'
    for used in "$@"; do
        dependencies+=$'\n'"$used = { path = \"../$used\" }"
        calls+="    texts.extend($used::describe());\\n"
    done
    mkdir -p "workspace/crates/$name/src"
    package "$name" "$dependencies" >"workspace/crates/$name/Cargo.toml"
    sed -e "s/NAME/$name/g" -e "s/^BELOW/$calls/" >"workspace/crates/$name/src/lib.rs" <<'EOF'
//! `NAME`: a library of the workspace.

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
BELOW    texts.sort_unstable();
    texts.dedup();
    texts
}
EOF
}

printf '[workspace]\nmembers = ["app", "crates/*"]\nresolver = "3"\n' >workspace/Cargo.toml
library leaf
library left leaf
library right leaf
library middle left right
library web middle
mkdir -p workspace/app/src
package app 'axum = "0.8"
serde_json = "1"
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
web = { path = "../crates/web" }' >workspace/app/Cargo.toml
cat >workspace/app/src/main.rs <<'EOF'
//! The app on top of the workspace.

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
EOF
