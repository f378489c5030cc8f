//! `devhost doctor --why PATH`: asks the devhost that serves the app what a change of a file does, and why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use devhost_build::Target;
use devhost_model::Error;
use serde_json::Value;

/// How long the answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The longest answer read, in bytes.
const ANSWER_SIZE_MAX: u64 = 64 * 1024;

/// Says where an app is being served, while this lives.
#[derive(Debug)]
pub(in crate::commands) struct Serving(PathBuf);

impl Serving {
    /// Returns where the address of an app is written down.
    pub(in crate::commands) fn place(target: &Target) -> PathBuf {
        target.target_dir().join("serving").join(target.name())
    }

    /// Writes down the address, for `--why`.
    pub(in crate::commands) fn note(place: &Path, bound: SocketAddr) -> Option<Self> {
        std::fs::create_dir_all(place.parent()?).ok()?;
        std::fs::write(place, bound.to_string()).ok()?;
        Some(Self(place.to_owned()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A file that is left over leads nowhere, or to another devhost, which says which app it serves.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Explains a file.
///
/// # Errors
/// No devhost serves the app.
pub(super) fn explain(target: &Target, path: &Path, cwd: &Path) -> Result<String, Error> {
    let is_not_served = || {
        Error::mistake(
            format!("no devhost serves `{}`, so what it uses is not known", target.name()),
            "start `devhost run`, open the pages that matter, and ask again meanwhile",
        )
    };
    let address = std::fs::read_to_string(Serving::place(target)).ok().and_then(|text| text.parse().ok());
    let address: SocketAddr = address.ok_or_else(is_not_served)?;
    let answer = ask(address, &cwd.join(path)).map_err(|_| is_not_served())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let file = &answer["files"][0];
    let does = match file["does"].as_str() {
        Some("build") => "a change builds the app",
        Some("restart") => "a change starts the app anew",
        Some("reload") => "a change reloads pages",
        Some("swap") => "a change swaps the stylesheet in open pages",
        Some("nothing") => "a change does nothing",
        _ => return Err(is_not_served()),
    };
    let mut explained = format!("{}: {does} ({})", text(&file["path"]), text(&file["why"]));
    if answer["trusted"] == false {
        explained.push_str("\nNot all that the app does is seen, so names of files count, too.");
    }
    Ok(explained)
}

fn ask(address: SocketAddr, path: &Path) -> std::io::Result<Value> {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let encoded: String =
        path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("%{byte:02X}")).collect();
    let head =
        format!("GET /__devhost/files?path={encoded} HTTP/1.0\r\nhost: localhost:{}\r\n\r\n", address.port());
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_SIZE_MAX).read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(&[][..], |at| &answer[at + 4..]);
    Ok(serde_json::from_slice(body)?)
}
